package machine

import (
	"runtime"
	"testing"
)

func TestDescribeHost(t *testing.T) {
	h := Describe(1024)
	if h.OS != runtime.GOOS || h.Arch != runtime.GOARCH || h.CPUs < 1 || h.Descriptors != 1024 || h.MemoryBytes < 1<<20 || h.Kernel == "" {
		t.Errorf("%+v", h)
	}
}
