// Package live shows health checks that go on: each round on a terminal, and all of them in a summary.
package live

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/term"

	"github.com/erlmcp/erlmcp/healthcheck"
	ourterm "github.com/erlmcp/erlmcp/internal/term"
)

// Limits of what a live view remembers.
const (
	keptLatencies = 120 // rounds, of each node
	keptEvents    = 100
)

// model is what was seen, and how large the window is. It asks nobody; rounds come to it as messages.
type model struct {
	paint    func(ourterm.Style, string) string
	interval time.Duration

	width, height int
	rounds        int
	begun         time.Time
	report        *healthcheck.Report  // nil before the first round
	latencies     map[string][]float64 // seconds by node, the newest last; negative without an answer
	events        []healthcheck.Event  // the newest last
}

// round is the message of a round that was made.
type round struct {
	report  healthcheck.Report
	changes []healthcheck.Event
	rounds  int
	begun   time.Time
}

func newModel(paint func(ourterm.Style, string) string, interval time.Duration) model {
	return model{paint: paint, interval: interval, width: 80, height: 24, latencies: make(map[string][]float64)}
}

// Init implements tea.Model.
func (model) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "Q", "esc", "ctrl+c":
			return m, tea.Quit
		}
	case round:
		m.take(msg)
	}
	return m, nil
}

// take remembers a round.
func (m *model) take(r round) {
	m.report, m.rounds, m.begun = &r.report, r.rounds, r.begun
	m.events = append(m.events, r.changes...)
	m.events = m.events[max(len(m.events)-keptEvents, 0):]
	for i := range r.report.Nodes {
		n := &r.report.Nodes[i]
		seconds := -1.0
		if latency, ok := n.Latency(); ok {
			seconds = latency.Seconds()
		}
		values := m.latencies[n.Name]
		m.latencies[n.Name] = append(values[max(len(values)-keptLatencies+1, 0):], seconds)
	}
}

// View implements tea.Model. The alternate screen leaves what was on the terminal before untouched.
func (m model) View() tea.View {
	v := tea.NewView(m.text())
	v.AltScreen = true
	v.WindowTitle = "erlmcp health"
	return v
}

// Watch makes rounds and shows them until the user quits, ctx ends, or the number of rounds is
// done. It returns the last round, like Collector.Watch.
func Watch(ctx context.Context, in io.Reader, out *ourterm.Output,
	watch func(context.Context, func(healthcheck.Report) error) (healthcheck.Report, error), history *healthcheck.History, interval time.Duration) (healthcheck.Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := []tea.ProgramOption{tea.WithOutput(out.Terminal()), tea.WithoutSignalHandler()}
	if keys, ok := in.(*os.File); ok && term.IsTerminal(int(keys.Fd())) {
		options = append(options, tea.WithInput(keys))
	} else {
		options = append(options, tea.WithInput(nil)) // Ctrl-C is a signal then
	}
	p := tea.NewProgram(newModel(out.Paint, interval), options...)

	var last healthcheck.Report
	var failed error
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		last, failed = watch(ctx, func(r healthcheck.Report) error {
			changes := history.Add(&r)
			p.Send(round{r, changes, history.Rounds, history.Begun})
			return nil
		})
		p.Quit()
	}()
	_, err := p.Run()
	cancel()
	<-watched
	return last, errors.Join(failed, err)
}
