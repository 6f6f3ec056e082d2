// Package erldist asks nodes of distributed Erlang: it looks a node up in epmd, connects as a hidden
// node and makes one remote procedure call.
//
//	Node.Call    calls a function of a module on the node
//	Node.Sees    lists the nodes that it is connected to
//	Node.Connect makes it connect to another one
//
// The protocol is that of the ERTS User's Guide, chapters "Distribution Protocol" and "External Term
// Format". Nothing here sends the cookie: both sides prove that they know it.
package erldist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Node is a node of distributed Erlang.
type Node struct {
	Name   string // NAME@HOST; HOST is an address, or a name that resolves to one
	Cookie string
	As     string // the name this side goes by, the same in every call: names are never forgotten there

	EPMD string // host:port of its port mapper; "" is HOST and the usual port

	Found *Found // where nodes have been found; nil forgets
}

// Found remembers the ports of nodes. One keeps its port, and its connections, as long as it lives, also when epmd
// has ended or has forgotten it.
type Found struct {
	mu    sync.Mutex
	ports map[string]int // by name
}

func (f *Found) keep(name string, port int) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ports == nil {
		f.ports = map[string]int{}
	}
	f.ports[name] = port
}

func (f *Found) port(name string) (port int, ok bool) {
	if f == nil {
		return 0, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	port, ok = f.ports[name]
	return port, ok
}

// DefaultTimeout limits a call whose context has no deadline.
const DefaultTimeout = 5 * time.Second

// EPMDPort is the port of epmd: that of the environment (ERL_EPMD_PORT), or else 4369.
func EPMDPort() int {
	if port, err := strconv.Atoi(os.Getenv("ERL_EPMD_PORT")); err == nil && port > 0 && port < 1<<16 {
		return port
	}
	return 4369
}

// ErrUnknown says that epmd does not know the node: it does not run, or has no distribution.
var ErrUnknown = errors.New("not registered with epmd")

// Call calls module:function(args...) on the node and returns the result. The error is of this side, or
// a *[BadRPC] if the call failed on the other one.
func (n Node) Call(ctx context.Context, module, function string, args ...Term) (Term, error) {
	result, err := n.call(ctx, module, function, args)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", n.Name, err)
	}
	return result, nil
}

func (n Node) call(ctx context.Context, module, function string, args List) (Term, error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	name, host, ok := strings.Cut(n.Name, "@")
	if !ok || name == "" || host == "" {
		return nil, fmt.Errorf("%q is no name of a node", n.Name)
	}
	epmd := n.EPMD
	if epmd == "" {
		epmd = net.JoinHostPort(host, strconv.Itoa(EPMDPort()))
	}
	port, lost := lookup(ctx, epmd, name)
	if lost == nil {
		n.Found.keep(n.Name, port)
	} else if known, ok := n.Found.port(n.Name); ok {
		port = known
	} else {
		return nil, lost
	}
	conn, release, err := dial(ctx, net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, cmp.Or(lost, err)
	}
	defer release()
	if err := handshake(conn, n); err != nil {
		return nil, cmp.Or(lost, contextual(ctx, err))
	}
	result, err := rpc(conn, n.As, module, function, args)
	return result, contextual(ctx, err)
}

// Sees lists the nodes that n is connected to, except for hidden ones.
func (n Node) Sees(ctx context.Context) ([]string, error) {
	result, err := n.Call(ctx, "erlang", "nodes")
	if err != nil {
		return nil, err
	}
	list, ok := result.(List)
	names := make([]string, 0, len(list))
	for _, t := range list {
		name, is := t.(Atom)
		ok = ok && is
		names = append(names, string(name))
	}
	if !ok {
		return nil, fmt.Errorf("ask %s: erlang:nodes() is no list of names", n.Name)
	}
	return names, nil
}

// Connect makes n connect to another node and reports whether the two are connected.
func (n Node) Connect(ctx context.Context, other string) (bool, error) {
	result, err := n.Call(ctx, "net_kernel", "connect_node", Atom(other))
	return result == Atom("true"), err
}

// BadRPC says that a call failed on the other node.
type BadRPC struct{ Reason string }

func (e *BadRPC) Error() string { return "the call failed: " + e.Reason }

// dial connects. The connection is cut when ctx ends; release frees everything.
func dial(ctx context.Context, address string) (conn net.Conn, release func(), err error) {
	var d net.Dialer
	conn, err = d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() {
		stop()
		conn.Close()
	}, nil
}

// contextual replaces the error of a connection that ctx has cut.
func contextual(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("no answer: %w", context.Cause(ctx))
	}
	return err
}
