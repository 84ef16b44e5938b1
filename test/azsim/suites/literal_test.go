package suites

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A library is a module of the SDK as far as it takes to write its Go literals as the JSON that they stand for.
type library struct {
	dir       string
	fields    map[string]map[string]string // names in JSON, by type and field
	constants map[string]string
}

func load(t *testing.T, dir string) *library {
	t.Helper()
	l := &library{dir: dir, fields: map[string]map[string]string{}, constants: map[string]string{}}
	for _, d := range l.parse(t, "models_serde.go", 0).Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "MarshalJSON" || f.Recv == nil {
			continue
		}
		receiver, ok := f.Recv.List[0].Type.(*ast.Ident)
		if !ok {
			continue
		}
		names := map[string]string{}
		l.fields[receiver.Name] = names
		ast.Inspect(f.Body, func(n ast.Node) bool {
			// populate(objectMap, "name", r.Field), and others for times and bytes
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 3 {
				return true
			}
			name, ok := call.Args[1].(*ast.BasicLit)
			field, ok2 := call.Args[2].(*ast.SelectorExpr)
			if ok && ok2 {
				names[field.Sel.Name], _ = strconv.Unquote(name.Value)
			}
			return true
		})
	}
	for _, d := range l.parse(t, "constants.go", 0).Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			for i, name := range v.Names {
				if i < len(v.Values) {
					if lit, ok := v.Values[i].(*ast.BasicLit); ok {
						l.constants[name.Name], _ = strconv.Unquote(lit.Value)
					}
				}
			}
		}
	}
	return l
}

func (l *library) parse(t *testing.T, name string, mode parser.Mode) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(l.dir, name), nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// value is a literal as JSON; of is its type where it leaves that out. Nil when it is of a kind that no example of interest has.
func (l *library) value(e, of ast.Expr) any {
	switch e := e.(type) {
	case *ast.CompositeLit:
		if e.Type != nil {
			of = e.Type
		}
		return l.composite(e, of)
	case *ast.UnaryExpr:
		v := l.value(e.X, of)
		if n, ok := v.(float64); ok && e.Op == token.SUB {
			return -n
		}
		return v
	case *ast.ParenExpr:
		return l.value(e.X, of)
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, _ := strconv.Unquote(e.Value)
			return s
		}
		n, _ := strconv.ParseFloat(e.Value, 64)
		return n
	case *ast.Ident:
		if e.Name == "true" || e.Name == "false" {
			return e.Name == "true"
		}
	case *ast.SelectorExpr:
		return l.constants[e.Sel.Name]
	case *ast.CallExpr:
		switch f := e.Fun.(type) {
		case *ast.FuncLit: // a time
			return time.Unix(0, 0).UTC().Format(time.RFC3339)
		case *ast.SelectorExpr:
			if f.Sel.Name == "Date" {
				return time.Unix(0, 0).UTC().Format(time.RFC3339)
			}
		}
		if len(e.Args) == 1 { // to.Ptr, []byte
			return l.value(e.Args[0], of)
		}
	}
	return nil
}

func (l *library) composite(e *ast.CompositeLit, of ast.Expr) any {
	switch of := of.(type) {
	case *ast.StarExpr:
		return l.composite(e, of.X)
	case *ast.ArrayType:
		out := []any{}
		for _, one := range e.Elts {
			out = append(out, l.value(one, of.Elt))
		}
		return out
	case *ast.MapType:
		out := map[string]any{}
		for _, one := range e.Elts {
			if kv, ok := one.(*ast.KeyValueExpr); ok {
				name, _ := l.value(kv.Key, nil).(string)
				out[name] = l.value(kv.Value, of.Value)
			}
		}
		return out
	case *ast.SelectorExpr:
		out := map[string]any{}
		for _, one := range e.Elts {
			kv, ok := one.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			field, _ := kv.Key.(*ast.Ident)
			name := l.fields[of.Sel.Name][field.Name]
			if v := l.value(kv.Value, nil); name != "" && v != nil {
				out[name] = v
			}
		}
		return out
	}
	return nil
}

// An example is a request and what Azure is said to answer.
type example struct {
	client, op, name string
	names            []string       // arguments that are texts: resource group, resource, ...
	body             map[string]any // nil for none
	want             map[string]any
}

var (
	exampleName   = regexp.MustCompile(`^Example(\w+Client)_(\w+?)(?:_(\w+))?$`)
	exampleAnswer = regexp.MustCompile(`(?m)^\s*(?:res|page)(\.\w+)? = `)
)

// examples reads those of a module.
func (l *library) examples(t *testing.T) []example {
	t.Helper()
	files, err := os.ReadDir(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []example
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), "_client_example_test.go") {
			continue
		}
		file := l.parse(t, f.Name(), parser.ParseComments)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				if e, ok := l.example(file, f); ok {
					out = append(out, e)
				}
			}
		}
	}
	return out
}

func (l *library) example(file *ast.File, f *ast.FuncDecl) (e example, ok bool) {
	m := exampleName.FindStringSubmatch(f.Name.Name)
	if m == nil {
		return e, false
	}
	e.client, e.op, e.name = m[1], m[2], m[3]
	ast.Inspect(f.Body, func(n ast.Node) bool {
		call, isCall := n.(*ast.CallExpr)
		if !isCall {
			return true
		}
		if s, isSelector := call.Fun.(*ast.SelectorExpr); !isSelector || s.Sel.Name != e.op {
			return true
		}
		ok = true
		for _, arg := range call.Args {
			switch v := l.value(arg, nil).(type) {
			case string:
				e.names = append(e.names, v)
			case map[string]any:
				if c, isLiteral := arg.(*ast.CompositeLit); isLiteral && c.Type != nil {
					e.body = v
				}
			}
		}
		return false
	})
	for _, group := range file.Comments {
		if group.Pos() < f.Pos() || group.End() > f.End() {
			continue
		}
		var text strings.Builder
		for _, line := range group.List {
			text.WriteString(strings.TrimPrefix(line.Text, "//") + "\n")
		}
		// res = CLIENTOPResponse{ Thing: Thing{...} }, or res.Thing = Thing{...}
		m := exampleAnswer.FindStringSubmatchIndex(text.String())
		if m == nil {
			continue
		}
		answer, err := parser.ParseExpr(text.String()[m[1]:])
		if err != nil {
			continue
		}
		if outer, isLiteral := answer.(*ast.CompositeLit); m[2] < 0 && isLiteral && len(outer.Elts) == 1 {
			if kv, isPair := outer.Elts[0].(*ast.KeyValueExpr); isPair {
				answer = kv.Value
			}
		}
		e.want, _ = l.value(answer, nil).(map[string]any)
	}
	return e, ok && e.want != nil
}
