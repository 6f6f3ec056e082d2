package erldist

import (
	"crypto/md5" //nolint:gosec // what the protocol says
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Capabilities of a node (DFLAG_…). What is mandatory from OTP 25 on, and nothing that would change
// the form of messages.
const capabilities = 0x4 | // EXTENDED_REFERENCES
	0x10 | // FUN_TAGS
	0x80 | // NEW_FUN_TAGS
	0x100 | // EXTENDED_PIDS_PORTS
	0x200 | // EXPORT_PTR_TAG
	0x400 | // BIT_BINARIES
	0x800 | // NEW_FLOATS
	0x10000 | // UTF8_ATOMS
	0x20000 | // MAP_TAG
	0x40000 | // BIG_CREATION
	0x1000000 | // HANDSHAKE_23
	0x2000000 | // UNLINK_ID
	1<<34 // V4_NC

const (
	maxName      = 255
	maxHandshake = 1024
	creation     = 1 // of this side; it never registers, so it has only one
)

// errCookie says that one side does not know the other's cookie.
var errCookie = errors.New("the cookies differ")

// handshake makes conn a connection with n, if it is n that has accepted it.
func handshake(conn io.ReadWriter, n Node) error {
	as, cookie := n.As, n.Cookie
	if len(as) > maxName {
		return fmt.Errorf("the name %.20q… is too long", as)
	}
	hello := append([]byte{'N'}, binary.BigEndian.AppendUint64(nil, capabilities)...)
	hello = binary.BigEndian.AppendUint32(hello, creation)
	hello = binary.BigEndian.AppendUint16(hello, uint16(len(as)))
	if err := sendShort(conn, append(hello, as...)); err != nil {
		return err
	}
	if err := acceptStatus(conn); err != nil {
		return err
	}
	theirs, name, err := readChallenge(conn)
	if err != nil {
		return err
	}
	if name != n.Name {
		return fmt.Errorf("handshake: %.40q answers where %s is", name, n.Name)
	}
	var mine [4]byte
	if _, err := rand.Read(mine[:]); err != nil {
		return err
	}
	proof := digest(cookie, theirs)
	reply := append(append([]byte{'r'}, mine[:]...), proof[:]...)
	if err := sendShort(conn, reply); err != nil {
		return err
	}
	ack, err := readShort(conn)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errCookie // it hangs up without a word
	case err != nil:
		return err
	}
	want := digest(cookie, binary.BigEndian.Uint32(mine[:]))
	if len(ack) != 1+len(want) || ack[0] != 'a' || subtle.ConstantTimeCompare(ack[1:], want[:]) != 1 {
		return errCookie
	}
	return nil
}

// acceptStatus reads whether the other side goes on.
func acceptStatus(conn io.ReadWriter) error {
	status, err := readShort(conn)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	switch string(status) {
	case "sok", "sok_simultaneous":
		return nil
	case "salive": // an earlier connection of this name, whose end it has not noticed yet
		return sendShort(conn, []byte("strue"))
	}
	return fmt.Errorf("handshake: refused with %.40q", status)
}

// readChallenge reads the number that the other side wants to see signed, and its name:
//
//	'N' FLAGS(8) CHALLENGE(4) CREATION(4) LENGTH(2) NAME
func readChallenge(conn io.Reader) (challenge uint32, name string, err error) {
	text, err := readShort(conn)
	if err != nil {
		return 0, "", fmt.Errorf("handshake: %w", err)
	}
	const number, length = 1 + 8, 1 + 8 + 4 + 4
	if len(text) < length+2 || text[0] != 'N' {
		return 0, "", errors.New("handshake: not a node of OTP 23 or newer")
	}
	name = string(text[length+2:])
	if n := int(binary.BigEndian.Uint16(text[length:])); n <= len(name) {
		name = name[:n]
	}
	return binary.BigEndian.Uint32(text[number:]), name, nil
}

func digest(cookie string, challenge uint32) [md5.Size]byte {
	return md5.Sum(strconv.AppendUint([]byte(cookie), uint64(challenge), 10)) //nolint:gosec // see above
}

// sendShort sends a message of the handshake.
func sendShort(w io.Writer, text []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...))
	return err
}

func readShort(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(length[:])
	if n > maxHandshake {
		return nil, fmt.Errorf("a message of %d bytes during the handshake", n)
	}
	text := make([]byte, n)
	_, err := io.ReadFull(r, text)
	return text, err
}
