package line

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestAccessLogOfTCP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		line, _ := bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, line)
	})
	b := startWorker(t, []string{node.Address()}, func(s *proxy.Spec) { s.AccessLog.File = path })
	c := b.Dial("")
	const ask = `{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n"
	if _, err := io.WriteString(c, ask); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c.TCPConn); err != nil {
		t.Fatal(err)
	}
	c.Close()
	l := b.ReadAccess(path, 1)[0]
	if l.Frontend != "tcp" || l.Node != "n0" || l.In != len(ask) || l.Out != len(ask) || l.Client != "127.0.0.1" || l.Duration <= 0 {
		t.Errorf("line %+v", l)
	}
}
