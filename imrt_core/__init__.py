"""Planning, dose, optimisation and evaluation of IMRT. Knows nothing of SimpleITK or Dagster."""
