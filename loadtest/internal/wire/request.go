package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Timeout bounds how long anything on the bus may take that takes no time.
const Timeout = 10 * time.Second

// Request sends a question and reads the answer.
func Request(conn *nats.Conn, subject string, question, answer any) error {
	data, err := json.Marshal(question)
	if err != nil {
		return err
	}
	m, err := conn.Request(subject, data, Timeout)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	return nil
}

// Respond answers a question. A failure shows as a time-out at the other end.
func Respond(m *nats.Msg, answer any) {
	if data, err := json.Marshal(answer); err == nil {
		_ = m.Respond(data)
	}
}
