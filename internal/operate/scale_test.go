package operate

import (
	"testing"

	"github.com/erlmcp/erlmcp/internal/topology"
)

func TestListensOn(t *testing.T) {
	n := topology.Node{Name: "a", Host: "localhost", TCP: 9001, HTTP: 9101}
	for address, want := range map[string]bool{"127.0.0.1:9001": true, "[::1]:9101": true, "127.0.0.1:19001": false, "127.0.0.1:901": false, "": true} {
		if got := listensOn(n, address); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
}
