package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/erlmcp/erlmcp/internal/advice"
)

// Error is a refusal by a daemon. On the wire it is {"error": {"code": …, "message": …, "hint": …,
// "exit": …}} with a status of 400 or above.
type Error struct {
	Status  int    `json:"-"`              // of HTTP
	Code    string `json:"code,omitempty"` // for programs: one lower-case word
	Message string `json:"message"`        // for people: what and where
	Advice  string `json:"hint,omitempty"` // for people: what to do
	Exit    int    `json:"exit,omitempty"` // exit code of the command that asked; 0 means 1
}

func (e *Error) Error() string { return e.Message }

// Hint is the advice.
func (e *Error) Hint() string { return e.Advice }

// ExitCode is what the command that asked ends with.
func (e *Error) ExitCode() int { return max(e.Exit, 1) }

// Refused reports whether err is a refusal of that kind.
func Refused(err error, code string) bool {
	var refusal *Error
	return errors.As(err, &refusal) && refusal.Code == code
}

type envelope struct {
	Error *Error `json:"error"`
}

// Reply sends v as JSON. A nil v sends an empty object.
func Reply(w http.ResponseWriter, status int, v any) {
	if v == nil {
		v = struct{}{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

// Answer replies with what answer returns, or fails with its error.
func Answer(answer func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := answer(r)
		if err != nil {
			Fail(w, err)
			return
		}
		Reply(w, http.StatusOK, v)
	}
}

// Fail sends err. A *[Error] goes as it is; any other error becomes status 500 with its text and,
// when it has them, the results of its methods Hint() string and ExitCode() int.
func Fail(w http.ResponseWriter, err error) {
	e := describe(err)
	if e.Status < 400 {
		e.Status = http.StatusInternalServerError
	}
	Reply(w, e.Status, envelope{e})
}

func describe(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		copied := *e
		copied.Message = err.Error()
		return &copied
	}
	hint, exit := advice.Of(err)
	return &Error{Message: err.Error(), Advice: hint, Exit: exit}
}

// Read decodes the body of a request into v, strictly. An empty body leaves v alone. Pass the error
// to [Fail].
func Read(r *http.Request, v any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil && err != io.EOF {
		return &Error{Status: http.StatusBadRequest, Code: "malformed", Message: fmt.Sprintf("malformed request: %v", err)}
	}
	return nil
}

// maxBody bounds requests, in bytes.
const maxBody = 1 << 20

// Lines begins a reply of JSON lines, to be read by [Client.Stream]. Each call of send delivers one
// value at once; its error means that the client has gone.
func Lines(w http.ResponseWriter) (send func(v any) error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	return func(v any) error {
		if err := enc.Encode(v); err != nil {
			return err
		}
		return out.Flush()
	}
}
