package master

import (
	"bytes"
	"testing"

	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// A key of tickets is random, good for two lives, and gone then.
func TestTicketKeysDie(t *testing.T) {
	const life = int64(ticketLife)
	var keys, others ticketKeys
	first := keys.inUse(1)
	if len(first) != 1 || len(first[0]) != wire.TicketKeySize || bytes.Equal(first[0], others.inUse(1)[0]) || keys.expired(life) {
		t.Fatalf("%x", first)
	}
	kept := keys.keys[0]
	clear(first[0]) // it is a copy
	second := keys.inUse(life)
	if len(second) != 1 || !bytes.Equal(second[0], kept) || !keys.expired(life+1) {
		t.Fatalf("%x, then %x", kept, second)
	}
	third := keys.inUse(life + 1)
	if len(third) != 2 || bytes.Equal(third[0], kept) || !bytes.Equal(third[1], kept) || keys.expired(life+1) {
		t.Fatalf("%x, then %x", kept, third)
	}
	fourth := keys.inUse(3 * life)
	if len(fourth) != 2 || !bytes.Equal(fourth[1], third[0]) || !bytes.Equal(kept, make([]byte, wire.TicketKeySize)) {
		t.Fatalf("%x, then %x; the first is %x now", third, fourth, kept)
	}
}
