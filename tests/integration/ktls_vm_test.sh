#!/usr/bin/env bash
# All that kernel TLS is tested with, inside the guest of ktls_vm.sh: ktls_vm_test.sh PYTHON PROGRAM...
set -euo pipefail

python=$1
shift
for program; do
  # What does not ask for kernel TLS has been tested outside.
  "$program" --gtest_brief=1 --gtest_filter='-*/off_*:AnyKernel.Detection*'
done
"$python" "$(dirname "$0")/ktls_serve_test.py"
