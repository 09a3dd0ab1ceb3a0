"""The top-level folder kernels/ is installed as the package minimask.kernels."""

from setuptools import find_packages, setup

inside = [p for p in find_packages(include=["minimask*"]) if not p.startswith("minimask.kernels")]
kernels = ["minimask.kernels", *(f"minimask.kernels.{p}" for p in find_packages("kernels"))]
setup(packages=[*inside, *kernels], package_dir={"minimask.kernels": "kernels"})
