# SPDX-License-Identifier: Apache-2.0
"""The C part: one build for every Python from 3.8 on, and none where there is no compiler."""
from setuptools import Extension, setup

setup(ext_modules=[Extension("forkspan._native", ["forkspan/_native.c"], py_limited_api=True, optional=True, extra_compile_args=["-O2", "-fvisibility=hidden"])],
      options={"bdist_wheel": {"py_limited_api": "cp38"}})
