package system

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

func TestCutRules(t *testing.T) {
	c := &cut{"t"}
	got := c.rules([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9001"), netip.MustParseAddrPort("[::ffff:127.0.0.1]:9002"), netip.MustParseAddrPort("[::1]:9003")})
	for _, want := range []string{
		"elements = { 127.0.0.1 . 9001 timeout 60s, 127.0.0.1 . 9002 timeout 60s }", "elements = { ::1 . 9003 timeout 60s }",
		"ip daddr . tcp dport @nodes_ip drop", "ip6 saddr . tcp sport @nodes_ip6 drop",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := c.rules([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9001")}); strings.Contains(got, "ip6") {
		t.Errorf("rules without addresses:\n%s", got)
	}
}

// A cut address answers nothing while others do, and answers again after the mend.
func TestCut(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil || os.Getuid() != 0 {
		t.Skip("needs nft, and root")
	}
	if err := CannotCut(t.Context()); err != nil {
		t.Skip(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := func() bool {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 300*time.Millisecond)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	if !answers() {
		t.Fatal("it does not answer before it is cut")
	}
	c, err := cutOff(t.Context(), []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())})
	if err != nil {
		t.Fatal(err)
	}
	if answers() {
		t.Error("it answers although it is cut")
	}
	if err := c.mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, 10*time.Second, "it to answer again", answers)
}
