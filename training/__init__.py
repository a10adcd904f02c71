"""Training of the models that the server runs: data sets, fitting, evaluation, export."""
