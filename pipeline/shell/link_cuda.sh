# shellcheck shell=sh
# Links NVIDIA's libraries into a folder in which TensorFlow looks for them.
#
#   sh pipeline/shell/link_cuda.sh SITE_PACKAGES
#
# TensorFlow's loader, libtensorflow_framework.so.2, searches the folders of its RUNPATH. Both stacks name
# nvidia/cuda_runtime/lib. TensorFlow 2.16 leaves out the folders of NCCL and CUPTI, and 2.21 that of cuSOLVER, without
# which it uses no card. The links are relative: the folder may be copied.
set -eu
cd "$1/nvidia/cuda_runtime/lib"
for library in ../../*/lib/*.so*; do
    [ -e "${library##*/}" ] || ln -s "$library" .
done
