package plan

import (
	"fmt"
	"strings"
	"time"

	"understudy/internal/dr"
)

// maxSummary bounds a summary, in bytes.
const maxSummary = 100

// Summary says in a few words what the action does.
func (a Action) Summary() string {
	s := a.summary()
	if len(s) > maxSummary {
		s = strings.ToValidUTF8(s[:maxSummary], "") + "..."
	}
	return s
}

func (a Action) summary() string {
	switch {
	case a.Script != nil && len(a.Script.Argv) > 0:
		return "run " + strings.Join(a.Script.Argv, " ")
	case a.Script != nil:
		text := strings.TrimSpace(a.Script.Text)
		if program, rest, ok := strings.Cut(text, "\n"); ok && strings.HasPrefix(program, "#!") {
			text = rest
		}
		first, _, more := strings.Cut(text, "\n")
		if more {
			first += " ..."
		}
		return "run " + first
	case a.Guest != nil:
		return fmt.Sprintf("run in %s: %s", a.Guest.Machine, strings.Join(a.Guest.Command, " "))
	case a.HTTP != nil:
		return a.HTTP.Verb() + " " + a.HTTP.URL
	case a.Wait != 0:
		return "wait " + dr.FormatDuration(time.Duration(a.Wait))
	case a.Approval != nil:
		return "wait for approval"
	case a.Extensions != nil && len(a.Extensions.Machines) > 0:
		return "restore the extensions of " + strings.Join(a.Extensions.Machines, ", ")
	case a.Extensions != nil:
		return "restore the extensions of all machines"
	case a.Probe != nil:
		return a.Probe.summary()
	}
	return "nothing"
}

func (p Probe) summary() string {
	switch p.Kind {
	case dr.ProbeSerial:
		return fmt.Sprintf("wait for %q on the console of %s", p.Text, p.Machine)
	case dr.ProbeAgent:
		return "wait for the guest agent of " + p.Machine
	}
	return fmt.Sprintf("wait for %s on port %d of %s", strings.ToUpper(string(p.Kind)), p.Port, p.Machine)
}

// Verb is the method of the request.
func (h HTTP) Verb() string {
	switch {
	case h.Method != "":
		return h.Method
	case h.Body != "":
		return "POST"
	}
	return "GET"
}

// Conditions says when the action is done and what its failure means, where that is not as usual.
func (a Action) Conditions() string {
	var parts []string
	var only []string
	for _, k := range a.When.Kinds {
		only = append(only, string(k))
	}
	for _, d := range a.When.Directions {
		only = append(only, string(d))
	}
	if len(only) > 0 {
		parts = append(parts, "only "+strings.Join(only, ", "))
	}
	switch a.OnError {
	case Continue:
		parts = append(parts, "goes on when it fails")
	case Ask:
		parts = append(parts, "asks when it fails")
	}
	if a.Retries > 0 {
		parts = append(parts, fmt.Sprintf("tried %d times", a.Retries+1))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, "; ")
}

// Outline is the plan as indented text, in the order in which it is carried out.
func (p Plan) Outline() string {
	var b strings.Builder
	actions := func(indent string, list []Action) {
		for _, a := range list {
			fmt.Fprintf(&b, "%s> %s: %s", indent, a.Name, a.Summary())
			if c := a.Conditions(); c != "" {
				fmt.Fprintf(&b, " (%s)", c)
			}
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, "plan %s of group %s\n", p.Name, p.Group)
	if len(p.Before) > 0 {
		b.WriteString("before anything is changed\n")
		actions("  ", p.Before)
	}
	for i, s := range p.Stages {
		fmt.Fprintf(&b, "stage %d: %s\n", i+1, s.Name)
		actions("  ", s.Before)
		if len(s.Machines) > 0 {
			fmt.Fprintf(&b, "  start %s\n", strings.Join(s.Machines, ", "))
		}
		actions("  ", s.After)
	}
	if len(p.After) > 0 {
		b.WriteString("when all is up\n")
		actions("  ", p.After)
	}
	return b.String()
}

// A Block is a box of the drawn plan: what precedes the stages, a stage, or what follows them.
type Block struct {
	Kind     string // before, stage or after
	Title    string
	Stage    string // its name, of a stage
	Machines []string
	Before   []Action // before its machines start
	After    []Action // when they are healthy
}

// Blocks are the boxes of the drawn plan, in the order in which they are carried out.
func (p Plan) Blocks() (out []Block) {
	if len(p.Before) > 0 {
		out = append(out, Block{Kind: "before", Title: "before anything is changed", Before: p.Before})
	}
	for i, s := range p.Stages {
		out = append(out, Block{"stage", fmt.Sprintf("stage %d: %s", i+1, s.Name), s.Name, s.Machines, s.Before, s.After})
	}
	if len(p.After) > 0 {
		out = append(out, Block{Kind: "after", Title: "when all is up", After: p.After})
	}
	return out
}

// A chart writes nodes and edges in a language of graphs.
type chart struct {
	strings.Builder
	nodes int
	last  []string // nodes that lead to the next
	node  func(id, text string, machine bool) string
	edge  func(from, to string) string
}

func (c *chart) add(text string, machine bool) string {
	c.nodes++
	id := fmt.Sprint("n", c.nodes)
	c.WriteString(c.node(id, text, machine))
	return id
}

// link leads from what was last to new nodes.
func (c *chart) link(edges *strings.Builder, ids ...string) {
	for _, from := range c.last {
		for _, to := range ids {
			edges.WriteString(c.edge(from, to))
		}
	}
	c.last = ids
}

func (c *chart) draw(p Plan, open func(i int, title string) string, closed string) {
	var edges strings.Builder
	for i, block := range p.Blocks() {
		c.WriteString(open(i, block.Title))
		one := func(list []Action) {
			for _, a := range list {
				c.link(&edges, c.add(a.Name+": "+a.Summary(), false))
			}
		}
		one(block.Before)
		var ids []string
		for _, m := range block.Machines {
			ids = append(ids, c.add(m, true))
		}
		if len(ids) > 0 {
			c.link(&edges, ids...)
		}
		one(block.After)
		c.WriteString(closed)
	}
	c.WriteString(edges.String())
}

// Mermaid is the plan as a Mermaid flow chart.
func (p Plan) Mermaid() string {
	quote := strings.NewReplacer(`"`, "#quot;", "\n", " ", "<", "#lt;", ">", "#gt;").Replace
	c := &chart{
		node: func(id, text string, machine bool) string {
			if machine {
				return fmt.Sprintf("    %s[[\"%s\"]]\n", id, quote(text))
			}
			return fmt.Sprintf("    %s(\"%s\")\n", id, quote(text))
		},
		edge: func(from, to string) string { return fmt.Sprintf("  %s --> %s\n", from, to) },
	}
	c.WriteString("flowchart TD\n")
	c.draw(p, func(i int, title string) string { return fmt.Sprintf("  subgraph s%d[\"%s\"]\n", i, quote(title)) }, "  end\n")
	return c.String()
}

// Dot is the plan in the language of Graphviz.
func (p Plan) Dot() string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ").Replace
	c := &chart{
		node: func(id, text string, machine bool) string {
			shape := "box, style=rounded"
			if machine {
				shape = "box3d"
			}
			return fmt.Sprintf("    %s [label=\"%s\", shape=%s]\n", id, quote(text), shape)
		},
		edge: func(from, to string) string { return fmt.Sprintf("  %s -> %s\n", from, to) },
	}
	fmt.Fprintf(c, "digraph \"%s\" {\n", quote(p.Name))
	c.draw(p, func(i int, title string) string {
		return fmt.Sprintf("  subgraph cluster_%d {\n    label=\"%s\"\n", i, quote(title))
	}, "  }\n")
	c.WriteString("}\n")
	return c.String()
}
