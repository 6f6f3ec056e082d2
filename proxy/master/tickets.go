package master

import (
	"bytes"
	"crypto/rand"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// ticketLife is for how long new session tickets are encrypted with one key. It is good for as long again, and then
// nobody has it any more: what was recorded of TLS 1.2 can no longer be opened with anything that is there.
const ticketLife = 12 * time.Hour

// ticketKeys are the keys of session tickets, the one in use first. The master makes them, keeps them in its memory
// only, and hands them to its workers: a session begun with one of them is resumed with any other. Other balancers
// have their own, and so does the next life of this one.
type ticketKeys struct {
	mu   sync.Mutex
	keys [][]byte
	made int64 // when the first was, monotonic
}

// expired reports whether it is time for a new key.
func (t *ticketKeys) expired(now int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys) > 0 && now-t.made >= int64(ticketLife)
}

// inUse returns copies of the keys. It makes a new one if it is time, and forgets the one before the last.
func (t *ticketKeys) inUse(now int64) (keys [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) == 0 || now-t.made >= int64(ticketLife) {
		t.rotate(now)
	}
	for _, k := range t.keys {
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

func (t *ticketKeys) rotate(now int64) {
	key := make([]byte, wire.TicketKeySize)
	_, _ = rand.Read(key) // it never fails
	if len(t.keys) > 1 {
		clear(t.keys[1])
	}
	t.keys, t.made = append([][]byte{key}, t.keys[:min(len(t.keys), 1)]...), now
}
