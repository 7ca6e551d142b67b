from fastlearn.learner.learner import Learner as Learner
