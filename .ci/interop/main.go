// Command interop runs clusters of MCP servers as they are found in the field, and has the official clients do the
// same steps straight at a node and through the balancer. It prints a table of server, client and step, and exits
// with 1 when a step ends differently through the balancer and nothing explains it. Then some of the servers are load
// tested, which must pass.
//
//	interop -dir DIR [-erlmcp PROGRAM] [-servers NAME,…] [-clients NAME,…] [-steps NAME,…] [-silent 330s] [-at-a-time 8] [-no-load] [-v]
//
// DIR has what package.json asks for, the files of js, and the other commands of this module in bin; .ci/servers
// makes one.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

var (
	dir     = flag.String("dir", "", "`directory` with the servers and clients")
	erlmcp  = flag.String("erlmcp", "erlmcp", "the `program`")
	only    = flag.String("servers", "", "only these `names`, separated by commas")
	onlyBy  = flag.String("clients", "", "only these `names`")
	onlyDo  = flag.String("steps", "", "only these `names`")
	silent  = flag.Duration("silent", 4*time.Second, "how long nothing is said in the steps silent and idle")
	atATime = flag.Int("at-a-time", 2, "this many servers")
	noLoad  = flag.Bool("no-load", false, "no load tests behind the table")
	verbose = flag.Bool("v", false, "print every outcome")
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("interop: ")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	var err error
	if *dir, err = filepath.Abs(*dir); err != nil {
		return err
	}
	if err := os.Setenv("PATH", filepath.Join(*dir, "node_modules/.bin")+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	file, err := serveFile()
	if err != nil {
		return err
	}
	var table table
	for _, server := range servers(file) {
		if chosen(*only, server.name) {
			table.add(server)
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(*atATime)
	for _, part := range table.parts {
		group.Go(func() error { return part.try(groupCtx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	table.print(os.Stdout, *verbose)
	if n := table.unexplained(); n > 0 {
		return fmt.Errorf("%d steps differ without an explanation", n)
	}
	if *noLoad {
		return nil
	}
	return table.load(ctx)
}

// load tests some of the servers under load, one after the other: a load test measures the machine too.
func (t *table) load(ctx context.Context) error {
	for _, l := range loads {
		for _, part := range t.parts {
			if part.server.name != l.server {
				continue
			}
			if err := l.try(ctx, part.server); err != nil {
				return err
			}
		}
	}
	return nil
}

// chosen tells whether a list of names, of which none means all, has this one.
func chosen(names, name string) bool {
	return names == "" || slices.Contains(strings.Split(names, ","), name)
}

// try starts four nodes of a server and the balancer, and takes down what the clients see.
func (p *part) try(ctx context.Context) error {
	begin := time.Now()
	s, err := up(ctx, p.server)
	if err != nil {
		return fmt.Errorf("%s: %w", p.server.name, err)
	}
	defer s.down()
	healthy := time.Since(begin)

	var all sync.WaitGroup
	for _, row := range p.rows {
		for way, url := range []string{s.straight, s.through} {
			plan := plan{URL: url, Transport: p.server.transport, Steps: p.server.chosenSteps()}
			all.Go(func() { row.outcomes[way], row.errs[way] = row.client.do(ctx, plan) })
		}
	}
	all.Wait()
	fmt.Printf("%-22s healthy after %.1f s, tried in %.1f s\n", p.server.name, healthy.Seconds(), (time.Since(begin) - healthy).Seconds())
	if p.unexplained() > 0 {
		fmt.Printf("%s", s.logs())
	}
	return ctx.Err()
}
