package attack

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) != "" {
		serveBenchmark()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
