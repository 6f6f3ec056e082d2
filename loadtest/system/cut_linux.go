package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// cut is a table of nftables that drops all packets of some addresses.
type cut struct{ table string }

// cutTime is when the kernel lets packets pass again by itself, should nobody mend it: this process can be killed.
const cutTime = time.Minute

// cutOff drops every packet from and to addresses.
func cutOff(ctx context.Context, at []netip.AddrPort) (*cut, error) {
	c := &cut{fmt.Sprintf("erlmcp_loadtest_%d", os.Getpid())}
	if err := nft(ctx, c.rules(at)); err != nil {
		return nil, err
	}
	return c, nil
}

// rules are a table with a set for each family, whose elements end by themselves (nft(8)).
func (c *cut) rules(at []netip.AddrPort) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", c.table)
	var rules strings.Builder
	for _, family := range []struct {
		name, set string
		is        func(netip.Addr) bool
	}{{"ip", "ipv4_addr", netip.Addr.Is4}, {"ip6", "ipv6_addr", netip.Addr.Is6}} {
		var elements []string
		for _, a := range at {
			if a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port()); family.is(a.Addr()) {
				elements = append(elements, fmt.Sprintf("%s . %d timeout %ds", a.Addr(), a.Port(), int(cutTime.Seconds())))
			}
		}
		if elements == nil {
			continue
		}
		fmt.Fprintf(&b, "\tset nodes_%s { type %s . inet_service; flags timeout; elements = { %s }; }\n", family.name, family.set, strings.Join(elements, ", "))
		fmt.Fprintf(&rules, "\t\t%[1]s daddr . tcp dport @nodes_%[1]s drop\n\t\t%[1]s saddr . tcp sport @nodes_%[1]s drop\n", family.name)
	}
	fmt.Fprintf(&b, "\tchain in {\n\t\ttype filter hook input priority -10; policy accept;\n%s\t}\n", rules.String())
	fmt.Fprintf(&b, "\tchain out {\n\t\ttype filter hook output priority -10; policy accept;\n%s\t}\n}\n", rules.String())
	return b.String()
}

// mend lets packets pass again.
func (c *cut) mend(ctx context.Context) error { return nft(ctx, "delete table inet "+c.table+"\n") }

// CannotCut is why packets cannot be dropped here; nil if they can.
func CannotCut(ctx context.Context) error {
	c := &cut{"erlmcp_loadtest_check"}
	return nft(ctx, c.rules([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}), "--check")
}

// nft has the program of that name take rules.
func nft(ctx context.Context, rules string, flags ...string) error {
	cmd := exec.CommandContext(ctx, "nft", append(flags, "-f", "-")...)
	cmd.Stdin = strings.NewReader(rules)
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	var failed *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("the program nft is not installed (package nftables)")
	case errors.As(err, &failed):
		line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("nft: %s", line)
	}
	return err
}
