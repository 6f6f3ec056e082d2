package pidfd

import (
	"os"
	"testing"

	"github.com/erlmcp/erlmcp/internal/guardtest"
)

func TestMain(m *testing.M) {
	guardtest.Guard()
	os.Exit(m.Run())
}
