"""Where somebody speaks in a recording: convolutions look at 32 ms of sound, an LSTM remembers what came before.

python -m examples.models.vad recording.wav

Without a file it listens to the greeting of a telephone exchange.
The weights are those of Silero VAD 6.2.3 (Silero Team, MIT), a file of safetensors.
"""

import sys
import wave

import numpy as np
from examples.models.files import fetched

import chainrule as cr
from chainrule import nn
from chainrule.data.fetch import RemoteData
from chainrule.data.packages import DebianPackage, PypiPackage
from chainrule.data.sources import RemoteFile

DATA = RemoteData(
    "silero-vad",
    files=(
        RemoteFile(
            "silero_vad_16k.safetensors", 1239748, "c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1"
        ),
    ),
    sources=(PypiPackage("silero-vad", "6.2.3", 11_317_527, "silero_vad/data"),),
    terms="11 MB to fetch, 1 MB kept; Silero Team, MIT",
)
RECORDING = RemoteData(
    "recording",
    files=(
        RemoteFile("demo-congrats.wav", 484472, "c47bcc0dfb442cf40ab833e442843a9be0c3558458ab3e1c403f602e00546afc"),
    ),
    sources=(
        DebianPackage("asterisk-core-sounds-en-wav", "1.6.1", 18_300_000, "usr/share/asterisk/sounds/en_US_f_Allison"),
    ),
    terms="18 MB to fetch, 0.5 MB kept; Digium, Inc., CC BY-SA 3.0",
)
RATE, STEP, BEFORE = 16_000, 512, 64  # samples in a second, in a step, and those before a step that it sees again
RENAME = {
    r"^stft_conv": "spectrum",
    r"^conv(\d)": r"sound.conv\1",
    r"^lstm_cell\.(.*)": r"memory.\1_l0",
    r"^final_conv": "speech",
}


@nn.register
class SpeechDetector(nn.Module):
    """Sound at 16 kHz, (n, steps, 576), becomes the probability that each step has speech, (n, steps)."""

    def __init__(self):
        self.window = nn.Pad((0, 64), mode="reflect")
        self.spectrum = nn.Conv1d(1, 258, 256, stride=128, bias=False)  # cosines, then sines, of 129 frequencies
        self.sound = nn.Sequential(
            {
                "conv1": nn.Conv1d(129, 128, 3, padding=1),
                "relu1": nn.ReLU(),
                "conv2": nn.Conv1d(128, 64, 3, stride=2, padding=1),
                "relu2": nn.ReLU(),
                "conv3": nn.Conv1d(64, 64, 3, stride=2, padding=1),
                "relu3": nn.ReLU(),
                "conv4": nn.Conv1d(64, 128, 3, padding=1),
                "relu4": nn.ReLU(),
            }
        )
        self.memory = nn.LSTM(128, 128, batch_first=True)
        self.speech = nn.Conv1d(128, 1, 1)

    def forward(self, x, state=None):
        return self.follow(x, state)[0]

    def follow(self, x, state=None):
        """The probabilities, and the state behind the last step: the next part of a recording begins with it."""
        n, steps, samples = x.shape
        waves = self.spectrum(self.window(x.reshape(n * steps, 1, samples)))
        loud = (waves[:, :129] ** 2 + waves[:, 129:] ** 2).sqrt()
        seen = self.sound(loud).reshape(n, steps, 128)
        h, state = self.memory(seen, state)
        return self.speech(h.relu().permute(0, 2, 1)).sigmoid()[:, 0], state


def in_steps(sound):
    """A recording (samples,) from -1 to 1 as (1, steps, 576): each step with the 64 samples before it."""
    steps = -(-len(sound) // STEP)
    padded = np.pad(sound.astype("float32"), (BEFORE, steps * STEP - len(sound)))
    return np.lib.stride_tricks.sliding_window_view(padded, BEFORE + STEP)[None, ::STEP].copy()


def load():
    """The network with the published weights."""
    model = SpeechDetector().eval()
    model.load_weights(fetched(DATA) / "silero_vad_16k.safetensors", rename=RENAME)
    return model


@cr.no_grad()
def probabilities(sound):
    """The probability of speech in each 32 ms of a recording."""
    return load()(cr.tensor(in_steps(sound))).numpy()[0]


def spoken(found, threshold=0.5):
    """From when to when somebody speaks, in seconds."""
    loud = np.pad((found > threshold).astype(int), 1)
    begin, end = (np.flatnonzero(np.diff(loud) == way) * STEP / RATE for way in (1, -1))
    return [*zip(begin.tolist(), end.tolist(), strict=True)]


def read_wav(path):
    """A recording of 16-bit samples, one channel, 16 kHz or 8 kHz, as (samples,) from -1 to 1 at 16 kHz."""
    with wave.open(str(path)) as file:
        if file.getsampwidth() != 2 or file.getnchannels() != 1 or file.getframerate() not in (8000, RATE):
            raise SystemExit(f"{path}: expected one channel of 16 bits at 8 or 16 kHz")
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        if file.getframerate() == RATE:
            return sound
        return np.interp(np.arange(2 * len(sound)) / 2, np.arange(len(sound)), sound)


if __name__ == "__main__":
    for path in sys.argv[1:] or [fetched(RECORDING) / "demo-congrats.wav"]:
        print(path)
        for begin, end in spoken(probabilities(read_wav(path))):
            print(f"  speech from {begin:6.2f} s to {end:6.2f} s")
