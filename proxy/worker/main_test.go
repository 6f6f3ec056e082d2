package worker

import (
	"testing"

	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { proxytest.Main(m) }
