package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"understudy/internal/dr"
)

// A Problem is something that is wrong with a plan, and where.
type Problem struct {
	Line   int    `json:"line,omitempty"` // from 1; 0 when it is of no place
	Column int    `json:"column,omitempty"`
	Field  string `json:"field,omitempty"` // such as stages[0].machines
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"`
}

// Text is the problem as compilers write it: file:line:column: field: what.
func (p Problem) Text(file string) string {
	var b strings.Builder
	if b.WriteString(file); p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	return b.String() + p.What
}

// Problems is the error of a plan with faults, in the order of the file.
type Problems struct {
	File string
	List []Problem
}

// Error has a line for each problem.
func (e *Problems) Error() string {
	lines := make([]string, len(e.List))
	for i, p := range e.List {
		lines[i] = p.Text(e.File)
	}
	return strings.Join(lines, "\n")
}

func (e *Problems) err() error {
	if len(e.List) == 0 {
		return nil
	}
	slices.SortStableFunc(e.List, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	hint := "a complete example: understudy plan init GROUP"
	for _, p := range e.List {
		if p.Hint != "" {
			hint = p.Hint
			break
		}
	}
	return dr.WithHint(e, dr.KindInvalid, hint)
}

// maxText bounds a plan, in bytes.
const maxText = 1 << 20

// Parse reads a plan; file is its name in messages. An error is dr.KindInvalid and wraps *Problems.
func Parse(file string, text []byte) (Plan, error) {
	p, doc, err := read(file, text)
	if err != nil {
		return p, err
	}
	v := &validator{doc: doc, problems: &Problems{File: file}}
	v.plan(p)
	return p, v.problems.err()
}

// Check reads a plan and holds it against the machines of its group.
func Check(file string, text []byte, machines []string) (Plan, error) {
	p, doc, err := read(file, text)
	if err != nil {
		return p, err
	}
	v := &validator{doc: doc, problems: &Problems{File: file}, machines: machines, known: true}
	v.plan(p)
	return p, v.problems.err()
}

func read(file string, text []byte) (Plan, *document, error) {
	var p Plan
	fail := func(problem Problem) (Plan, *document, error) {
		return p, nil, (&Problems{File: file, List: []Problem{problem}}).err()
	}
	if len(text) > maxText {
		return fail(Problem{What: fmt.Sprintf("the plan is longer than %d bytes", maxText)})
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return fail(syntax(err))
	}
	doc := &document{}
	switch n := len(tree.Docs); {
	case n > 1:
		return fail(Problem{What: "more than one document: a file holds one plan"})
	case n == 1:
		doc.root = tree.Docs[0].Body
	}
	if doc.root == nil || doc.root.Type() == ast.NullType {
		return fail(Problem{Line: 1, Column: 1, What: "the plan is empty"})
	}
	if err := yaml.UnmarshalWithOptions(text, &p, yaml.Strict()); err != nil {
		return fail(doc.name(syntax(err)))
	}
	return p, doc, nil
}

// syntax is what the YAML reader says, with its place.
func syntax(err error) Problem {
	var e yaml.Error
	if !errors.As(err, &e) {
		return Problem{What: err.Error()}
	}
	p := Problem{What: plain(e.GetMessage())}
	if t := e.GetToken(); t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
		if strings.HasPrefix(p.What, "unknown field") {
			p.Hint = "known keys are in the example that `understudy plan init GROUP` writes"
		}
	}
	return p
}

// plain makes the reader's words fit for people who know no Go.
func plain(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	if _, into, ok := strings.Cut(message, "cannot unmarshal "); ok {
		what, to, _ := strings.Cut(into, " into Go ")
		to = to[strings.LastIndex(to, " ")+1:]
		return fmt.Sprintf("%s where %s is expected", what, goName(to))
	}
	return strings.NewReplacer("where sequence is", "where a list is", "where mapping is", "where a set of keys is").Replace(message)
}

func goName(t string) string {
	switch {
	case strings.HasPrefix(t, "[]"):
		return "a list"
	case strings.HasPrefix(t, "map["), strings.HasPrefix(t, "plan.") && t != "plan.Duration":
		return "a set of keys"
	case t == "int":
		return "a whole number"
	case t == "bool":
		return "true or false"
	case t == "string":
		return "text"
	}
	return t
}

// A document finds the place of a field in the text.
type document struct{ root ast.Node }

// key names a field, such as stages[0].machines; at finds the place of its value, or of what holds it.
func (d *document) at(path ...any) (line, column int) {
	node := d.root
	line, column = place(node)
	for _, step := range path {
		node = child(resolve(node), step)
		if node == nil {
			return line, column
		}
		line, column = place(node)
	}
	return line, column
}

// resolve looks through what YAML puts around a value.
func resolve(n ast.Node) ast.Node {
	for {
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.TagNode:
			n = v.Value
		default:
			return n
		}
	}
}

func child(n ast.Node, step any) ast.Node {
	switch v := n.(type) {
	case *ast.MappingNode:
		for _, pair := range v.Values {
			if keyOf(pair) == step {
				return pair.Value
			}
		}
	case *ast.MappingValueNode:
		if keyOf(v) == step {
			return v.Value
		}
	case *ast.SequenceNode:
		if i, ok := step.(int); ok && i < len(v.Values) {
			return v.Values[i]
		}
	}
	return nil
}

func keyOf(pair *ast.MappingValueNode) any {
	if pair.Key == nil || pair.Key.GetToken() == nil {
		return nil
	}
	return pair.Key.GetToken().Value
}

func place(n ast.Node) (line, column int) {
	n = resolve(n)
	switch v := n.(type) {
	case *ast.MappingNode:
		if len(v.Values) > 0 {
			return place(v.Values[0])
		}
	case *ast.MappingValueNode:
		if v.Key != nil {
			n = v.Key
		}
	case *ast.SequenceNode:
		if len(v.Values) > 0 {
			return place(v.Values[0])
		}
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0, 0
	}
	return n.GetToken().Position.Line, n.GetToken().Position.Column
}

func key(path ...any) string {
	var b strings.Builder
	for _, step := range path {
		switch s := step.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(s) + "]")
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s)
		}
	}
	return b.String()
}

// name adds to a problem of the reader the field that lies at its place.
func (d *document) name(p Problem) Problem {
	if p.Line == 0 || d.root == nil {
		return p
	}
	p.Field = fieldAt(d.root, p.Line, p.Column, nil)
	return p
}

// fieldAt finds the deepest field whose key or value begins at a place.
func fieldAt(n ast.Node, line, column int, path []any) string {
	deeper := func(pair *ast.MappingValueNode) string {
		name, _ := keyOf(pair).(string)
		at := append(append([]any(nil), path...), name)
		if found := fieldAt(pair.Value, line, column, at); found != "" {
			return found
		}
		for _, part := range []ast.Node{pair.Key, pair.Value} {
			if part == nil {
				continue
			}
			if t := part.GetToken(); t != nil && t.Position.Line == line && t.Position.Column == column {
				return key(at...)
			}
		}
		return ""
	}
	switch v := resolve(n).(type) {
	case *ast.MappingNode:
		for _, pair := range v.Values {
			if found := deeper(pair); found != "" {
				return found
			}
		}
	case *ast.MappingValueNode:
		return deeper(v)
	case *ast.SequenceNode:
		for i, item := range v.Values {
			at := append(append([]any(nil), path...), i)
			if found := fieldAt(item, line, column, at); found != "" {
				return found
			}
			if l, c := place(item); l == line && c == column {
				return key(at...)
			}
		}
	}
	return ""
}
