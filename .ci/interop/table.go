package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

// table is all that was seen.
type table struct{ parts []*part }

// part is what all clients have seen of one server.
type part struct {
	server server
	rows   []*row
}

// row is what one client has seen of it.
type row struct {
	server   server
	client   client
	outcomes [2]map[string]string // by step; straight and through the balancer
	errs     [2]error
}

var ways = [2]string{"straight", "through"}

// add adds a server, with nothing seen of it yet.
func (t *table) add(server server) {
	part := &part{server: server}
	for _, client := range clients {
		if chosen(*onlyBy, client.name) {
			part.rows = append(part.rows, &row{server: server, client: client})
		}
	}
	t.parts = append(t.parts, part)
}

func (t *table) rows() (rows []*row) {
	for _, part := range t.parts {
		rows = append(rows, part.rows...)
	}
	return rows
}

// cell is the judgement on one step.
type cell struct {
	offered           bool
	straight, through string
	right             bool   // as it must be straight at a node, and the same through the balancer
	explanation       string // why it is not
}

func (c cell) unexplained() bool { return c.offered && !c.right && c.explanation == "" }

func (r *row) cell(name string) cell {
	straight, ok := r.outcomes[0][name]
	through, okThrough := r.outcomes[1][name]
	c := cell{offered: ok || okThrough || r.failed(name), straight: straight, through: through}
	for _, step := range r.server.steps {
		if step.Name == name {
			c.right = straight == through && ok && regexp.MustCompile(step.want).MatchString(straight)
		}
	}
	if !c.right {
		c.explanation = explain(r.server.name, r.client.name, name, straight, through)
	}
	return c
}

// failed tells whether a step has no outcome since the client failed before.
func (r *row) failed(name string) bool {
	if r.errs[0] == nil && r.errs[1] == nil {
		return false
	}
	for _, step := range r.server.chosenSteps() {
		if step.Name == name {
			return true
		}
	}
	return false
}

// print prints a line for each server and client, and below the table what is not the same or, of all, what was seen.
func (t *table) print(w io.Writer, all bool) {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	names := slices.DeleteFunc(slices.Clone(stepNames), func(name string) bool { return !chosen(*onlyDo, name) })
	fmt.Fprintf(tab, "\nserver\tclient\t%s\n", strings.Join(names, "\t"))
	var notes []string
	for _, r := range t.rows() {
		fmt.Fprintf(tab, "%s\t%s", r.server.name, r.client.name)
		for _, name := range names {
			c := r.cell(name)
			mark := "-"
			if c.offered {
				mark = "same"
			}
			if c.offered && !c.right {
				mark = fmt.Sprintf("[%d]", len(notes)+1)
				why := c.explanation
				if why == "" {
					why = "UNEXPLAINED"
				}
				notes = append(notes, fmt.Sprintf("%s, %s, %s: %s\n      straight: %.300s\n      through:  %.300s", r.server.name, r.client.name, name, why, c.straight, c.through))
			}
			fmt.Fprintf(tab, "\t%s", mark)
		}
		fmt.Fprintln(tab)
	}
	tab.Flush()
	fmt.Fprintln(w, "\nsame: the same outcome straight at a node and through the balancer; -: not offered, neither way")
	for i, note := range notes {
		fmt.Fprintf(w, "[%d] %s\n", i+1, note)
	}
	for _, r := range t.rows() {
		for way, err := range r.errs {
			if err != nil {
				fmt.Fprintf(w, "%s, %s, %s: %v\n", r.server.name, r.client.name, ways[way], err)
			}
		}
		for _, name := range names {
			if c := r.cell(name); all && c.offered {
				fmt.Fprintf(w, "%s, %s, %s: %.80q | %.80q\n", r.server.name, r.client.name, name, c.straight, c.through)
			}
		}
	}
}

func (t *table) unexplained() (n int) {
	for _, part := range t.parts {
		n += part.unexplained()
	}
	return n
}

func (p *part) unexplained() (n int) {
	for _, r := range p.rows {
		for _, name := range stepNames {
			if r.cell(name).unexplained() {
				n++
			}
		}
	}
	return n
}
