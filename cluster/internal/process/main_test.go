package process

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
)

func TestMain(m *testing.M) {
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}
