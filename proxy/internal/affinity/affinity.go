// Package affinity names nodes to clients by opaque tags, so that a client's next
// request can be led to its node without a table of sessions: across workers,
// restarts, and balancers that share a key.
//
// A tag is a keyed MAC over its purpose and the node's name, and in a session over
// the session id too. It tells neither names nor addresses, and nobody without the
// key can make one, use one for another purpose, or move one to another session.
// A tag names the node, not its place: nodes may be added and reordered. Tags of
// sessions and of endpoints also say since when, under the MAC: who knows when the
// node's process began can tell those of an earlier one.
package affinity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
)

// MinKey is the least number of bytes of a key.
const MinKey = 32

// Separator stands between what is tagged and its tag. It is allowed unescaped in
// header fields, cookies, paths and queries (RFC 3986 section 2.3), and may occur
// in what is tagged.
const Separator = '~'

// TagLen is the length of a tag, without separator. A tag consists of letters,
// digits, - and _.
const TagLen = 16

// Place is where an endpoint is: a node, and which of its two ports for event streams. The zero port
// is that of their own.
type Place struct {
	Node  int
	Plain bool // the port of everything else
	Since Time // when its stream began
}

// Unknown is the node of a tag that no present node has: the node is gone, or
// somebody made it up.
const Unknown = -1

// tag is a truncated MAC, and where it says since when, a Time and a MAC of 64 bits:
//
//	cookie               MAC (12 bytes)
//	session, endpoint    Time (4) │ MAC (8)
//
// That is beyond guessing: a guess costs a request. They are 16 letters without rest,
// so no tag can be spelled in two ways.
type tag [TagLen * 6 / 8]byte

var encoding = base64.RawURLEncoding.Strict()

// Ring makes and verifies the tags of a set of nodes. It is used by one goroutine
// at a time.
type Ring struct {
	key   []byte
	ids   hash.Hash // the MAC of session ids
	nodes []node
	// Scratch, that calls through interfaces need not allocate.
	sum   [sha256.Size]byte
	block [aes.BlockSize]byte
}

// node is what a Ring knows of a node; a slot without a node has no session.
//
// The tag of a session is the MAC of its id and the time, enciphered with the node's own key:
// a pseudo-random function of them. To try one more node costs a block of AES
// then, instead of two of SHA-256.
type node struct {
	session  cipher.Block
	endpoint [2]cipher.Block // the second is that of the plain port
	cookie   tag
}

// Purposes. What a tag was made for is part of its MAC.
const (
	forID       = "id"
	forSession  = "session"
	forCookie   = "cookie"
	forEndpoint = "endpoint"
	forPlain    = "plain endpoint"
)

// New makes a Ring without nodes. The key is secret, and at least MinKey bytes.
func New(key []byte) (*Ring, error) {
	if len(key) < MinKey {
		return nil, fmt.Errorf("affinity key: %d bytes, need at least %d", len(key), MinKey)
	}
	r := &Ring{key: append([]byte(nil), key...)}
	r.ids = hmac.New(sha256.New, r.mac(forID, ""))
	return r, nil
}

// SetNodes replaces the nodes. A node's number is its index in names; an empty
// name is an empty slot.
func (r *Ring) SetNodes(names []string) {
	r.nodes = make([]node, len(names))
	for i, name := range names {
		if name == "" {
			continue
		}
		r.nodes[i] = node{
			session:  r.cipher(forSession, name),
			endpoint: [2]cipher.Block{r.cipher(forEndpoint, name), r.cipher(forPlain, name)},
			cookie:   tag(r.mac(forCookie, name)),
		}
	}
}

func (r *Ring) cipher(purpose, name string) cipher.Block {
	block, err := aes.NewCipher(r.mac(purpose, name))
	if err != nil {
		panic(err) // a MAC has the length of an AES-256 key
	}
	return block
}

// mac is long enough for a key, and is cut for a tag.
func (r *Ring) mac(purpose, name string) []byte {
	h := hmac.New(sha256.New, r.key)
	h.Write([]byte("erlmcp affinity\x00" + purpose + "\x00" + name))
	return h.Sum(nil)
}

// AppendSession appends the session id that a client gets for the id that a node
// made in a session that began at since.
func (r *Ring) AppendSession(dst, id []byte, node int, since Time) []byte {
	dst = append(dst, id...)
	if !r.has(node) {
		return appendTag(dst, tag{})
	}
	r.hash(id)
	return appendTag(dst, r.seal(r.nodes[node].session, since))
}

// Session finds the node of a session id from a client, the id that the node made, as
// a part of tagged, and when it began. ok is false if there is no tag: the id is not
// from AppendSession. If there is one but node is Unknown, the session is gone.
func (r *Ring) Session(tagged []byte) (id []byte, node int, since Time, ok bool) {
	id, want, ok := cut(tagged)
	if !ok {
		return nil, Unknown, 0, false
	}
	node, since = Unknown, want.time()
	r.hash(id)
	for i := range r.nodes {
		if r.has(i) {
			got := r.seal(r.nodes[i].session, since)
			node = choose(&got, &want, i, node)
		}
	}
	return id, node, since, true
}

// AppendCookie appends the cookie value that leads to the node.
func (r *Ring) AppendCookie(dst []byte, node int) []byte {
	var t tag
	if r.has(node) {
		t = r.nodes[node].cookie
	}
	return encoding.AppendEncode(dst, t[:])
}

// Cookie finds the node of a cookie value. ok is false if it is not from
// AppendCookie.
func (r *Ring) Cookie(value []byte) (node int, ok bool) {
	want, ok := parse(value)
	if !ok {
		return Unknown, false
	}
	node = Unknown
	for i := range r.nodes {
		if r.has(i) {
			node = choose(&r.nodes[i].cookie, &want, i, node)
		}
	}
	return node, true
}

// AppendEndpoint appends the URI that a client gets for the one that a node named
// as the endpoint of an event stream. The tag becomes the end of the query or, if
// there is none, of the path. It does not depend on the URI, which clients resolve
// and normalise before they use it.
func (r *Ring) AppendEndpoint(dst, uri []byte, at Place) []byte {
	dst = append(dst, uri...)
	if !r.has(at.Node) {
		return appendTag(dst, tag{})
	}
	clear(r.sum[:])
	return appendTag(dst, r.seal(r.nodes[at.Node].endpoint[at.port()], at.Since))
}

// Endpoint finds the place of a request target, which says too when its stream began, and the target that the
// node knows, as [Ring.Session] does.
func (r *Ring) Endpoint(tagged []byte) (target []byte, at Place, ok bool) {
	target, want, ok := cut(tagged)
	if !ok {
		return nil, Place{Node: Unknown}, false
	}
	found, since := Unknown, want.time()
	clear(r.sum[:])
	for i := range r.nodes {
		if r.has(i) {
			for port, key := range r.nodes[i].endpoint {
				got := r.seal(key, since)
				found = choose(&got, &want, 2*i+port, found)
			}
		}
	}
	if found == Unknown {
		return target, Place{Node: Unknown}, true
	}
	return target, Place{Node: found / 2, Plain: found%2 != 0, Since: since}, true
}

func (p Place) port() int {
	if p.Plain {
		return 1
	}
	return 0
}

// has reports whether there is such a node. An answer may come from one that was
// removed meanwhile: its tag is then one that nobody has.
func (r *Ring) has(node int) bool {
	return node >= 0 && node < len(r.nodes) && r.nodes[node].session != nil
}

// hash prepares for the seals of a session.
func (r *Ring) hash(id []byte) {
	r.ids.Reset()
	r.ids.Write(id)
	r.ids.Sum(r.sum[:0])
}

// seal is the tag of since, and of what was hashed last, under a node's key.
func (r *Ring) seal(key cipher.Block, since Time) (t tag) {
	binary.BigEndian.PutUint32(t[:], uint32(since))
	copy(r.block[:], r.sum[:])
	copy(r.block[aes.BlockSize-timeLen:], t[:timeLen])
	key.Encrypt(r.block[:], r.block[:])
	copy(t[timeLen:], r.block[:])
	return t
}

// time is what a tag says that is not of a cookie.
func (t *tag) time() Time { return Time(binary.BigEndian.Uint32(t[:])) }

// choose is i if got is want, else node, in constant time.
func choose(got, want *tag, i, node int) int {
	return subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(got[:], want[:]), i, node)
}

func appendTag(dst []byte, t tag) []byte {
	return encoding.AppendEncode(append(dst, Separator), t[:])
}

// cut splits off the tag at the end of tagged.
func cut(tagged []byte) (rest []byte, t tag, ok bool) {
	at := len(tagged) - TagLen - 1
	if at < 0 || tagged[at] != Separator {
		return nil, tag{}, false
	}
	t, ok = parse(tagged[at+1:])
	return tagged[:at:at], t, ok
}

func parse(text []byte) (t tag, ok bool) {
	if len(text) != TagLen {
		return tag{}, false
	}
	var bytes [TagLen]byte
	n, err := encoding.Decode(bytes[:], text)
	if err != nil || n != len(t) {
		return tag{}, false
	}
	return tag(bytes[:]), true
}
