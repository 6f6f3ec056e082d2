// Package wire is what the master and its workers tell each other.
package wire

import (
	"net/netip"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// Kinds of messages between master and worker, with the type of their data.
const (
	MessageSpec    = "spec"    // master → worker: WorkerSpec, the first message and again at reload
	MessageNodes   = "nodes"   // master → worker: none; node cells of the board have changed
	MessageReady   = "ready"   // worker → master: none; it accepts clients, under the last WorkerSpec
	MessageSuspect = "suspect" // worker → master: Suspect
	MessageDrained = "drained" // worker → master: none; it holds no client any more
	MessageYield   = "yield"   // worker → master → the worker that it names: Yield
)

// FileBoard is the name of the board's file among those a worker inherits. Its own listeners are called as in proxy.Listen.
const FileBoard = "board"

// WorkerSpec is all a worker needs to know beyond the board.
type WorkerSpec struct {
	Spec   proxy.Spec
	Worker int        // its row on the board
	Nodes  []NodeSlot // every slot in use, draining ones included
	// MaxConnections is how many clients this worker may hold: a bound of its descriptor limit.
	MaxConnections int
	Key            []byte // of the tags that name nodes in sessions and cookies; secret
	// Certificate and CertificateKey are of the https listener, in PEM; empty without it. The key is secret.
	Certificate    []byte    `json:",omitempty"`
	CertificateKey []byte    `json:",omitempty"`
	TicketKeys     [][]byte  `json:",omitempty"` // of TLS sessions, the one in use first; secret
	NodeTrust      NodeTrust // for TLS to nodes
	Reload         bool      // replaces an earlier WorkerSpec
}

// Heartbeat is how often a worker shows that it lives and looks at its nodes.
const Heartbeat = 250 * time.Millisecond

// ErrorsInARow condemn a node without waiting for a check.
const ErrorsInARow = 3

// TicketKeySize is what crypto/tls takes, in bytes.
const TicketKeySize = 32

// NodeSlot says which node a slot of the board stands for. A slot keeps its node, address and ports for
// as long as it is in use.
type NodeSlot struct {
	Slot int
	Node topology.Node
	Addr netip.Addr // of the node's host, resolved by the master
}

// SlotNames are the nodes by slot, as tags name them. Of two of the same name the first is the present one, and the
// other has moved away.
func SlotNames(nodes []NodeSlot) []string {
	names := make([]string, board.MaxNodes)
	for _, n := range nodes {
		if !slices.Contains(names, n.Node.Name) {
			names[n.Slot] = n.Node.Name
		}
	}
	return names
}

// Yield asks a worker for the place of a connection of a source, which holds most.
type Yield struct {
	Worker int // its row on the board
	Source board.SlotID
}

// Suspect reports that a node misbehaved towards a worker's clients.
type Suspect struct {
	Slot       int
	Transport  board.Transport
	Generation uint32 // of the port when it happened; a report about an earlier life is void
	Reason     string // one of the Suspect… constants
	Errors     int    // in a row, as this worker saw it
	At         int64  // when, monotonic
}

// Reasons of a Suspect.
const (
	SuspectRefused = "refused" // the connection was refused
	SuspectReset   = "reset"   // it was reset before the first byte of an answer
	SuspectClosed  = "closed"  // it was closed before the first byte of an answer
	SuspectTimeout = "timeout" // it was not established in time
	SuspectTLS     = "tls"     // TLS could not be agreed on
	SuspectSilent  = "silent"  // it is established, but requests stay unanswered
)

// PortsOf are the ports of a node by transport, 0 where it has none of its own: an SSE port that is the
// HTTP port is served there.
func PortsOf(n topology.Node) [board.Transports]uint16 {
	ports := [board.Transports]uint16{board.TCP: uint16(n.TCP), board.HTTP: uint16(n.HTTP), board.SSE: uint16(n.SSE)}
	if ports[board.SSE] == ports[board.HTTP] {
		ports[board.SSE] = 0
	}
	return ports
}
