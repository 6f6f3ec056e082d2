package erldist

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// Messages of epmd.
const (
	epmdPortPlease = 122 // PORT_PLEASE2_REQ
	epmdPort       = 119 // PORT2_RESP
)

// lookup asks epmd for the port that the node with that name, without its host, listens on.
func lookup(ctx context.Context, epmd, name string) (port int, err error) {
	conn, release, err := dial(ctx, epmd)
	if err != nil {
		return 0, fmt.Errorf("epmd: %w", err)
	}
	defer release()
	if len(name) > maxName {
		return 0, fmt.Errorf("epmd: the name %.20q… is too long", name)
	}
	request := binary.BigEndian.AppendUint16(nil, uint16(1+len(name)))
	request = append(append(request, epmdPortPlease), name...)
	if _, err := conn.Write(request); err != nil {
		return 0, fmt.Errorf("epmd: %w", contextual(ctx, err))
	}
	var reply [4]byte // tag, result, port
	if _, err := io.ReadFull(conn, reply[:2]); err != nil {
		return 0, fmt.Errorf("epmd: %w", contextual(ctx, err))
	}
	switch {
	case reply[0] != epmdPort:
		return 0, fmt.Errorf("epmd: unknown answer %d", reply[0])
	case reply[1] != 0:
		return 0, ErrUnknown
	}
	if _, err := io.ReadFull(conn, reply[2:]); err != nil {
		return 0, fmt.Errorf("epmd: %w", contextual(ctx, err))
	}
	return int(binary.BigEndian.Uint16(reply[2:])), nil
}
