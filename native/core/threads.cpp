#include "core/threads.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace chainrule {

namespace {

// How long to spin before sleeping. The caller's bound is the price under contention (a worker that lost its core is
// waited for), the worker's saves the 20-45 us of a wake between the kernels of one step.
constexpr double caller_spin_us = 60, worker_spin_us = 100;

void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

double now_us() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

/// Spins until ready() or the time is up; tells which.
template <class Ready>
bool spin(double limit_us, Ready ready) {
    double start = 0;
    for (int i = 1;; ++i) {
        if (ready()) return true;
        pause();
        if (i % 64) continue;
        const double now = now_us();
        if (start == 0) start = now;
        if (now - start > limit_us) return false;
    }
}

thread_local bool inside_region = false;
thread_local int number = 0;  // of a worker: from 1

class ThreadPool {
  public:
    explicit ThreadPool(int count) {
        for (int i = 1; i < count; ++i) workers_.emplace_back([this, i] { work(i); });
    }

    ~ThreadPool() {
        stop_ = true;
        ++bell_;
        bell_.notify_all();
        for (auto& worker : workers_) worker.join();
    }

    void run(long chunks, ChunkFunction function, void* context) {
        function_ = function;
        context_ = context;
        chunks_ = chunks;
        run_ = chunks / most + 1;
        const auto total = static_cast<uint32_t>((chunks + run_ - 1) / run_);
        runs_.store(total, std::memory_order_relaxed);
        done_.store(0, std::memory_order_relaxed);
        const uint32_t epoch = bell_.load(std::memory_order_relaxed) + 1;
        job_.store(uint64_t{epoch} << 32, std::memory_order_release);
        bell_.store(epoch, std::memory_order_seq_cst);
        if (asleep_.load(std::memory_order_seq_cst)) bell_.notify_all();
        inside_region = true;
        claim(epoch, false, false);
        inside_region = false;
        if (!spin(caller_spin_us, [&] { return done_.load(std::memory_order_acquire) == total; })) {
            caller_asleep_.store(true, std::memory_order_seq_cst);
            for (uint32_t done; (done = done_.load(std::memory_order_seq_cst)) != total;) done_.wait(done);
            caller_asleep_.store(false, std::memory_order_relaxed);
        }
        job_.store(closed, std::memory_order_release);
    }

  private:
    // Between regions no chunk can be claimed: a late worker's exchange fails, whatever it read before.
    static constexpr uint64_t closed = ~uint64_t{0};
    static constexpr long most = 0xffff;  // runs of a job

    // Takes runs of chunks of the job `epoch` until none is left: the caller from the front, its neighbour from the back, so
    // that kernels in a row meet the same part of their arrays on the same core, whose cache still has it. The epoch and
    // what was taken from either end are one word, so a late worker can never take a part of a newer job; the function is
    // read only after something was taken.
    void claim(uint32_t epoch, bool worker, bool from_back) {
        for (uint64_t job = job_.load(std::memory_order_acquire);;) {
            const uint32_t runs = runs_.load(std::memory_order_relaxed);
            const auto front = static_cast<uint32_t>(job >> 16 & most), back = static_cast<uint32_t>(job & most);
            if (static_cast<uint32_t>(job >> 32) != epoch || front + back >= runs) return;
            if (!job_.compare_exchange_weak(job, job + (from_back ? 1 : 1 << 16), std::memory_order_acq_rel)) continue;
            const long begin = (from_back ? runs - 1 - back : front) * run_, end = std::min(begin + run_, chunks_);
            for (long chunk = begin; chunk < end; ++chunk) function_(context_, chunk);
            const uint32_t done = done_.fetch_add(1, std::memory_order_seq_cst) + 1;
            if (worker && caller_asleep_.load(std::memory_order_seq_cst) && done == runs) done_.notify_one();
            job = job_.load(std::memory_order_acquire);
        }
    }

    void work(int worker) {
        number = worker;
        inside_region = true;
        for (uint32_t seen = 0;;) {
            const auto rung = [&] { return bell_.load(std::memory_order_acquire) != seen; };
            while (!spin(worker_spin_us, rung)) {
                asleep_.fetch_add(1, std::memory_order_seq_cst);
                bell_.wait(seen, std::memory_order_seq_cst);
                asleep_.fetch_sub(1, std::memory_order_seq_cst);
            }
            seen = bell_.load(std::memory_order_acquire);
            if (stop_) return;
            claim(seen, true, worker % 2 == 1);
        }
    }

    std::vector<std::thread> workers_;
    alignas(128) std::atomic<uint64_t> job_{closed};  // epoch << 32 | runs taken from the front << 16 | from the back
    alignas(128) std::atomic<uint32_t> done_{0};
    alignas(128) std::atomic<uint32_t> bell_{0};  // the epoch workers should look at
    std::atomic<int> asleep_{0};
    std::atomic<uint32_t> runs_{0};
    std::atomic<bool> caller_asleep_{false}, stop_{false};
    ChunkFunction function_ = nullptr;
    void* context_ = nullptr;
    long chunks_ = 0, run_ = 1;  // in all, and in a run
};

// The pool in use, made at the first parallel region; `taken` is held while a region runs or the pool is changed.
std::atomic<bool> taken{false};
ThreadPool* pool = nullptr;
std::atomic<int> threads{0};

int from_environment(const char* name) {
    const char* text = std::getenv(name);
    if (!text || !*text) return 0;
    char* end = nullptr;
    const long value = std::strtol(text, &end, 10);
    return value >= 1 && value <= 1024 ? static_cast<int>(value) : 0;  // "4,2" (nested OpenMP) reads as 4
}

/// The cores that a quota amounts to: "quota period" of one file (cgroup 2), or a number of each of two (cgroup 1), both in
/// microseconds. Infinity where there is none: "max", -1, or no such file.
double cores_of(const std::string& file, const std::string& second = "") {
    std::ifstream text(file);
    double quota = 0, period = 0;
    text >> quota;
    if (second.empty()) text >> period;
    else std::ifstream(second) >> period;
    return quota > 0 && period > 0 ? quota / period : INFINITY;
}

/// The least quota of a group and of those that it lies in; `path` begins and need not end with a slash.
double least_quota(const std::string& root, std::string path, bool second_version) {
    double least = INFINITY;
    for (;;) {
        if (path == "/") path.clear();
        const std::string folder = root + path + "/";
        least = std::min(least, second_version ? cores_of(folder + "cpu.max")
                                               : cores_of(folder + "cpu.cfs_quota_us", folder + "cpu.cfs_period_us"));
        if (path.empty()) return least;
        path.resize(path.rfind('/'));
    }
}

int default_threads() {
    for (const char* name : {"CHAINRULE_NUM_THREADS", "OMP_NUM_THREADS"})
        if (const int count = from_environment(name)) return count;
    int count = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
#endif
    if (const int limit = cgroup_limit("/sys/fs/cgroup", "/proc/self/cgroup")) count = std::min(count, limit);
    return std::max(count, 1);
}

void take() {
    while (taken.exchange(true, std::memory_order_acquire)) sched_yield();
}
void give() { taken.store(false, std::memory_order_release); }

// A child process has only the thread that forked: the old pool is left where it lies and a new one made on demand.
void register_fork_handlers() {
    static const int once = pthread_atfork(take, give, [] {
        pool = nullptr;
        inside_region = false;
        give();
    });
    (void)once;
}

}  // namespace

void run_chunks(long chunks, ChunkFunction function, void* context) {
    if (chunks <= 0) return;
    const bool serial = inside_region || num_threads() == 1 || taken.exchange(true);
    if (serial) {
        for (long chunk = 0; chunk < chunks; ++chunk) function(context, chunk);
        return;
    }
    if (!pool) {
        register_fork_handlers();
        pool = new ThreadPool(threads);
    }
    pool->run(chunks, function, context);
    give();
}

int cgroup_limit(const std::string& root, const std::string& membership) {
    // lines "hierarchy:controllers:path"; that of version 2 has no controllers. In a container the path may be one of the
    // host's, which is not there: then the root counts
    double least = std::min(least_quota(root, "", true), least_quota(root + "/cpu", "", false));
    std::ifstream lines(membership);
    for (std::string line; std::getline(lines, line);) {
        const size_t first = line.find(':'), last = line.find(':', first + 1);
        if (last == std::string::npos || line[last + 1] != '/') continue;
        const std::string path = line.substr(last + 1);
        std::string controllers(",");
        controllers.append(line, first + 1, last - first - 1).append(",");
        if (controllers == ",,") least = std::min(least, least_quota(root, path, true));
        else if (controllers.find(",cpu,") != std::string::npos)
            least = std::min(least, least_quota(root + "/cpu", path, false));
    }
    return least < INFINITY ? std::max(1, static_cast<int>(std::ceil(least))) : 0;
}

int thread_number() { return number; }

int num_threads() {
    if (!threads) threads = default_threads();
    return threads.load(std::memory_order_relaxed);
}

void set_num_threads(int count) {
    if (count < 1 || count > 1024)
        throw std::invalid_argument("[set_num_threads] count is " + std::to_string(count) +
                                    "; give a number from 1 to 1024");
    take();
    delete pool;
    pool = nullptr;
    threads = count;
    give();
}

}  // namespace chainrule
