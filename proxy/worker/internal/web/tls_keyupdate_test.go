package web

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// records writes TLS 1.3 records of AES-128-GCM (RFC 8446, sections 5.2 and 7): crypto/tls does not let
// its user ask for new keys.
type records struct {
	secret []byte
	iv     []byte
	aead   cipher.AEAD
	seq    uint64
	out    bytes.Buffer
}

func (r *records) rekey(t testing.TB, secret []byte) {
	block, err := aes.NewCipher(expandLabel(t, secret, "key", 16))
	if err != nil {
		t.Fatal(err)
	}
	if r.aead, err = cipher.NewGCM(block); err != nil {
		t.Fatal(err)
	}
	r.secret, r.iv, r.seq = secret, expandLabel(t, secret, "iv", 12), 0
}

func expandLabel(t testing.TB, secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(len(label)))
	out, err := hkdf.Expand(sha256.New, secret, string(info)+label+"\x00", n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (r *records) append(kind byte, payload ...byte) {
	nonce := bytes.Clone(r.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^r.seq)
	r.seq++
	head := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(payload)+1+r.aead.Overhead()))
	r.out.Write(head)
	r.out.Write(r.aead.Seal(nil, nonce, append(payload, kind), head))
}

// appendKeyUpdate asks for a KeyUpdate in return.
func (r *records) appendKeyUpdate(t testing.TB) {
	r.append(22, 24, 0, 0, 1, 1)
	r.rekey(t, expandLabel(t, r.secret, "traffic upd", sha256.Size))
}

const (
	keyUpdates  = 20_000
	mostUntaken = 400 << 10 // bytes of the answers
)

// askingForKeys is what a peer sends that begins a message and then asks for new keys all the time.
func askingForKeys(t testing.TB, secret []byte, head string) (sealed []byte) {
	var r records
	r.rekey(t, secret)
	r.append(23, []byte(head)...)
	for i := range keyUpdates {
		if i%10 == 0 {
			r.append(23, 'x') // else crypto/tls would lose its patience
		}
		r.appendKeyUpdate(t)
	}
	return r.out.Bytes()
}

// untaken is how much waits for the peer of a connection once the worker has either read everything or does not read on.
func (b *bench) untaken(of func() *reactor.Conn) (pending int) {
	b.T.Helper()
	var before int
	b.Eventually("the worker to come to rest", func() (rests bool) {
		b.On(func() { pending = of().Pending() })
		rests = pending > 0 && pending == before
		before = pending
		for range 100 { // turns in which it could read
			b.On(func() {})
		}
		return rests
	})
	return pending
}

// Who asks for new keys all the time and takes none of the answers does not fill the worker's memory.
func TestKeyUpdatesThatNobodyTakes(t *testing.T) {
	site := proxytest.StartSite(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	b := startWorker(t, []string{site}, nil)
	var keys bytes.Buffer
	config := proxytest.Trusting(proxytest.LocalPair())
	config.MinVersion, config.KeyLogWriter = tls.VersionTLS13, &keys
	raw := b.dialInto(b.Secure, 4<<10)
	conn := tls.Client(raw.TCPConn, config)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if conn.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("needs a machine with AES")
	}
	_, line, _ := strings.Cut(keys.String(), "CLIENT_TRAFFIC_SECRET_0 ")
	secret, err := hex.DecodeString(strings.Fields(line)[1])
	if err != nil {
		t.Fatal(err)
	}
	b.narrow(4 << 10)
	asked := askingForKeys(t, secret, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = raw.Write(asked) })
	if pending := b.untaken(func() *reactor.Conn { return &b.http.clients.conn }); pending > mostUntaken {
		t.Errorf("%d bytes wait for a client that takes none", pending)
	}
	raw.Close()
	sending.Wait()
}
