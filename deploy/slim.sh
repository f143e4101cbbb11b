#!/bin/sh
# Removes from the packages of an image what nothing in it loads: slim.sh SITE_PACKAGES.
# libonnxruntime.so is for C programs, the module has its own; Arrow's libarrow_python.so and
# .so.N.N.N are copies of .so.N. Symbol tables are stripped from modules and Arrow's libraries only:
# other bundled libraries may break when they are stripped.
set -eu
cd "$1"
rm -rf pip pip-* setuptools setuptools-* pkg_resources _distutils_hack distutils-precedence.pth \
  onnxruntime/capi/libonnxruntime.so* onnxruntime/tools onnxruntime/transformers numpy/distutils \
  pyarrow/*flight* pyarrow/include pyarrow/libarrow_python*.so pyarrow/libarrow_python*.so.*.*.*
# Of Amazon's services only the store, and those that give its keys.
[ ! -d botocore/data ] || find botocore/data -mindepth 1 -maxdepth 1 -type d \
  ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -rf {} +
find . -type d -name tests -prune -exec rm -rf {} +
find . -name '*.py[ix]' -delete -o -name '*.pxd' -delete -o -name '*.a' -delete
find . -name '*.cpython-*.so' -o -name '*.abi3.so' -o -path './pyarrow/*.so*' |
  xargs strip --strip-unneeded
