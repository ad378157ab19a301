"""A network as an estimator of scikit-learn: in a pipeline, in cross-validation, in a grid search.

python examples/sklearn_pipeline.py [--quick]     (pip install 'chainrule[sklearn]')
"""

import sys

from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from chainrule import nn
from chainrule.data import load_wine
from chainrule.estimators import ClassifierModel

epochs = 10 if "--quick" in sys.argv else 40
x, y = load_wine()  # 178 wines, 13 measurements, three makers

network = nn.Sequential(nn.Linear(16), nn.ReLU(), nn.Linear(3))
classifier = ClassifierModel(network, epochs=epochs, batch_size=16, lr=0.01, random_state=0)
pipeline = make_pipeline(StandardScaler(), classifier)

scores = cross_val_score(pipeline, x, y, cv=3)
print(f"three folds: {', '.join(f'{s:.1%}' for s in scores)}")

search = GridSearchCV(pipeline, {"classifiermodel__lr": [1e-4, 1e-2]}, cv=2)
search.fit(x, y)
print(f"best learning rate {search.best_params_['classifiermodel__lr']}: {search.best_score_:.1%}")
print("chances of the first wine:", search.predict_proba(x[:1]).round(2))
if scores.mean() < 0.9 or search.best_params_["classifiermodel__lr"] != 1e-2:
    raise SystemExit("the folds disagree with what is known of these wines")
