// Command siegers runs a cluster with its balancer on defaults, attacks it in every way at once, and has 200 good
// clients call meanwhile. Then the same clients call twice without the attack. It prints what was attacked, what the good
// clients got, and what the processes took, and exits with 1 when one of its demands is not met.
//
//	siegers -erlmcp PROGRAM [-for 2m] [-calm 1m] [-only REGEXP]
//
// All of it is on one machine, so who attacks takes processors from who is attacked, which strangers elsewhere would
// not. The attackers are one process with a niceness of 10 that computes with one thread at a time. What it took is
// taken by a plain loop, as nice, in the runs without the attack:
//
//	attackers' share   the loop, and nothing else
//	siege's share      and a loop, not nice, for each process of the system, which takes what that process computed more
//	                   during the siege than in the run before
//
// Each loop takes its share of 100 ms in one piece, at some moment of them.
//
// The demand compares with the latter: the processors have as much to do, and what is left of the difference is how the
// system treats who behaves when others do not. The former is printed, too.
//
// Attackers and good clients come from addresses of their own in 127.0.0.0/8, each of which is a source of its own to
// the balancer.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
)

var (
	erlmcp = flag.String("erlmcp", "erlmcp", "the `program`")
	length = flag.Duration("for", 2*time.Minute, "how long the siege takes, 10s to 10m")
	quiet  = flag.Duration("calm", time.Minute, "how long it is calm afterwards, at most as long; 0 compares nothing")
	group  = flag.Int("group", 0, "`niceness` of this program's session, for its own parts")
	only   = flag.String("only", "", "only attacks whose names match this regular `expression`")
)

// The parts that this program plays in processes of their own.
const (
	partAttack = "attack"
	partBurn   = "burn"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("siege: ")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *group != 0 {
		_ = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(*group)), 0) // where there are such groups
	}
	var err error
	switch flag.Arg(0) {
	case partAttack:
		err = attack()
	case partBurn:
		err = burn(flag.Arg(1))
	default:
		err = run(ctx)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	if *length < 10*time.Second || *length > 10*time.Minute {
		return errors.New("-for has to be within 10s..10m")
	}
	if runtime.GOOS != "linux" {
		return errors.New("the addresses of 127.0.0.0/8 and /proc are needed, as Linux has them")
	}
	program, err := filepath.Abs(*erlmcp)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "siege") // short: the path of a unix socket must fit
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	besieged, err := besiege(ctx, filepath.Join(dir, "a"), program)
	if err != nil {
		return err
	}
	idle, busy := nothing(), nothing()
	if *quiet > 0 {
		nice := load{besieged.share(), attackersNice}
		if idle, err = burden(ctx, filepath.Join(dir, "b"), program, nice); err != nil {
			return err
		}
		if busy, err = burden(ctx, filepath.Join(dir, "c"), program, append(more(besieged, idle), nice)...); err != nil {
			return err
		}
	}
	report(os.Stdout, besieged, idle, busy)
	if failed := demand(os.Stdout, besieged, busy); failed > 0 {
		return fmt.Errorf("%d demands are not met", failed)
	}
	return nil
}

// observed is what one run has shown.
type observed struct {
	services []*service
	lasted   time.Duration
	machine  time.Duration // what all programs of the machine have computed
	good     time.Duration // of that, the good clients
	others   time.Duration // what attackers or the loop have computed
	watch    *watch

	// Of the siege.
	tallies       []tally
	before, after state
	newcomers     *service // after it
	returned      time.Duration
	stats         proxy.Stats
	commands      int // that were answered
	problems      []string
}

// more is what each process of a system has computed more in one run than in another, as a share of a processor.
func more(besieged, idle *observed) (loads []load) {
	before := idle.shares()
	for role, shares := range besieged.shares() {
		for i, share := range shares {
			if i < len(before[role]) {
				share -= before[role][i]
			}
			if share >= leastShare {
				loads = append(loads, load{share, 0})
			}
		}
	}
	return loads
}

// leastShare is what is worth a loop.
const leastShare = .001

// shares is what share of a processor each process of a system has taken, by what it is for.
func (o *observed) shares() map[string][]float64 {
	all := make(map[string][]float64)
	for _, h := range o.watch.all {
		role := strings.Join(strings.Fields(h.name)[:2], " ")
		all[role] = append(all[role], (h.last.CPU-h.first).Seconds()/o.lasted.Seconds())
	}
	for _, shares := range all {
		slices.Sort(shares)
	}
	return all
}

// nothing is what a run that did not take place has shown.
func nothing() *observed { return &observed{lasted: 1, watch: &watch{}} }

// share is how much of one processor the others have taken.
func (o *observed) share() float64 { return o.others.Seconds() / o.lasted.Seconds() }

// systemShare is how much of one processor the system has taken.
func (o *observed) systemShare() float64 { return o.watch.computed().Seconds() / o.lasted.Seconds() }

// strange is how much of one processor other programs of the machine have taken.
func (o *observed) strange() float64 {
	return max((o.machine-o.good-o.others-o.watch.computed()).Seconds()/o.lasted.Seconds(), 0)
}

// used is what this process has computed.
func used() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used) // cannot fail
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// state is what a system holds.
type state struct {
	connections int64
	sessions    int
	changes     uint64 // how often nodes have come and gone
	rss         int64
	descriptors map[string]int // by process
}

// besiege starts a system and attacks it.
func besiege(ctx context.Context, dir, program string) (o *observed, err error) {
	s, err := start(ctx, dir, program)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	o = &observed{}
	if o.before, err = s.state(ctx); err != nil {
		return nil, err
	}
	attackers := other(attackersNice, "-only", *only, partAttack)
	in, err := attackers.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := attackers.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := attackers.Start(); err != nil {
		return nil, err
	}
	defer in.Close()
	t := target{TCP: s.TCP, HTTP: s.HTTP, HTTPS: s.HTTPS, Admin: s.Admin, Health: s.Health, For: *length}
	if err := json.NewEncoder(in).Encode(t); err != nil {
		return nil, err
	}
	var asking sync.WaitGroup
	last, over := context.WithTimeout(ctx, *length)
	defer over()
	asking.Go(func() { o.ask(last, s) })
	o.serve(ctx, s, *length)
	asking.Wait()
	if err := json.NewDecoder(out).Decode(&o.tallies); err != nil {
		return nil, fmt.Errorf("attackers: %w", err)
	}
	if err := attackers.Wait(); err != nil {
		return nil, fmt.Errorf("attackers: %w", err)
	}
	usage := attackers.ProcessState
	o.others = usage.UserTime() + usage.SystemTime()
	if o.stats, err = s.stats(ctx); err != nil {
		return nil, err
	}
	return o, o.recover(ctx, s)
}

// load is a loop that takes a share of one processor.
type load struct {
	share float64
	nice  int
}

// attackersNice is the niceness of attackers.
const attackersNice = 10

// burden has good clients call while loops compute.
func burden(ctx context.Context, dir, program string, loads ...load) (o *observed, err error) {
	s, err := start(ctx, dir, program)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	var ends []func() (time.Duration, error)
	defer func() {
		for _, end := range ends {
			took, failed := end()
			o.others += took
			err = errors.Join(err, failed)
		}
	}()
	o = &observed{}
	for _, l := range loads {
		end, err := l.start()
		if err != nil {
			return o, err
		}
		ends = append(ends, end)
	}
	o.serve(ctx, s, min(*length, *quiet))
	return o, ctx.Err()
}

// start starts a loop. What is returned ends it, and says what it has computed.
func (l load) start() (end func() (time.Duration, error), err error) {
	loop := other(l.nice, partBurn, strconv.FormatFloat(l.share, 'f', 3, 64))
	in, err := loop.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := loop.Start(); err != nil {
		return nil, err
	}
	return func() (time.Duration, error) {
		if err := errors.Join(in.Close(), loop.Wait()); err != nil {
			return 0, fmt.Errorf("loop: %w", err)
		}
		return loop.ProcessState.UserTime() + loop.ProcessState.SystemTime(), nil
	}, nil
}

// other is this program in another part. It has a session of its own, as the system has: kernels that group programs by
// their sessions (sched(7), autogroup) apply the niceness of a program within its group, and that of the group beyond.
func other(nice int, part ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	wanted := strconv.Itoa(nice)
	cmd := exec.Command("nice", append([]string{"-n", wanted, self, "-group", wanted}, part...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// period is how often a loop takes its share, in one piece: that of a control group with a bound (cpu.max), as no program
// computes for a millisecond now and then.
const period = 100 * time.Millisecond

// burn takes a share of one processor until its standard input ends.
func burn(share string) error {
	wanted, err := strconv.ParseFloat(share, 64)
	if err != nil {
		return err
	}
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	for next := time.Now(); !over.Load(); {
		next = next.Add(period)
		piece := time.Duration(wanted * float64(period))
		time.Sleep(rand.N(max(time.Until(next)-piece, 1)))
		for began := used(); used()-began < piece && !over.Load(); {
		}
		time.Sleep(time.Until(next))
	}
	return nil
}

// serve has the good clients call for so long, and watches the processes.
func (o *observed) serve(ctx context.Context, s *system, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began, machine, good := time.Now(), busy(), used()
	o.watch = newWatch(s)
	var watching sync.WaitGroup
	watching.Go(func() { o.watch.run(ctx) })
	o.services = serveAll(ctx, s)
	watching.Wait()
	o.lasted, o.machine, o.good = time.Since(began), busy()-machine, used()-good
}

// ask does each two seconds what operators and monitors do: it asks side doors and the control socket.
func (o *observed) ask(ctx context.Context, s *system) {
	for pause(ctx, 2*time.Second) {
		var health any
		asked := context.WithoutCancel(ctx)
		o.note("GET /health", ask(asked, s.Health, "/health", &health))
		_, err := s.stats(asked)
		o.note("GET /stats.json", err)
		limited, cancel := context.WithTimeout(asked, patience)
		out, err := s.command(limited, s.asker, "lb", "status", "--json").CombinedOutput()
		cancel()
		if err != nil {
			err = fmt.Errorf("%w: %.200s", err, out)
		}
		o.note("erlmcp lb status", err)
	}
}

func (o *observed) note(what string, err error) {
	if err != nil {
		o.problems = append(o.problems, fmt.Sprintf("%s: %v", what, err))
		return
	}
	o.commands++
}

func (s *system) state(ctx context.Context) (state, error) {
	all, err := s.stats(ctx)
	if err != nil {
		return state{}, err
	}
	now := state{connections: all.Connections.Active, changes: stateChanges(&all), descriptors: make(map[string]int)}
	if now.sessions, err = s.sessions(ctx); err != nil {
		return state{}, err
	}
	for _, p := range s.processes() {
		now.rss += p.RSS
		now.descriptors[p.key()] = p.Descriptors
	}
	return now, nil
}

// returnTime is how long a system may take until it holds what it held before.
const returnTime = 45 * time.Second

// recover waits until what the siege has left is gone, and sees that newcomers are served.
func (o *observed) recover(ctx context.Context, s *system) error {
	began := time.Now()
	var err error
	for {
		if o.after, err = s.state(ctx); err != nil {
			return err
		}
		o.returned = time.Since(began)
		if o.hasReturned() || o.returned > returnTime || !pause(ctx, time.Second) {
			break
		}
	}
	visit, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	o.newcomers = total(serveAll(visit, s))
	return ctx.Err()
}
