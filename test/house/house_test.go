// Package house tests the rules of the house: who may import whom, how large things may grow, and that the documents
// point at things that exist. docs/architecture.md gives the reasons.
package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module   = "understudy"
	maxLines = 600
)

// A source is a Go file of the module.
type source struct {
	name    string // slash-separated, from the module's root
	pkg     string // folder
	test    bool
	file    *ast.File
	lines   int
	imports []string // of this module, as folders; and others by path
}

// root is the module's folder.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

// ignored are folders that hold nothing of ours.
var ignored = []string{".git", ".cache", "bin", "node_modules", "dist", "results"}

func walk(t *testing.T, fn func(name string, content []byte)) {
	t.Helper()
	base := root(t)
	err := filepath.WalkDir(base, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains(ignored, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(base, file)
		fn(filepath.ToSlash(rel), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	walk(t, func(name string, content []byte) {
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "/testdata/") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, content, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		s := source{name: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), file: f,
			lines: strings.Count(string(content), "\n")}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			s.imports = append(s.imports, strings.TrimPrefix(p, module+"/"))
		}
		all = append(all, s)
	})
	if len(all) < 5 {
		t.Fatalf("only %d Go files found", len(all))
	}
	return all
}

// within reports whether a folder is dir or lies below it.
func within(folder, dir string) bool { return folder == dir || strings.HasPrefix(folder, dir+"/") }

// providers are the folders below internal/site that hold a driver, as against what all drivers share.
func driver(folder string) string {
	rest, ok := strings.CutPrefix(folder, "internal/site/")
	name, _, _ := strings.Cut(rest, "/")
	if !ok || name == "sitetest" || name == "sitemem" || name == "fake" || name == "mem" {
		return ""
	}
	return name
}

// lawful says why an import is against the law, or nothing.
func lawful(from, to string) string {
	switch {
	case within(from, "internal/dr"):
		if first, _, _ := strings.Cut(to, "/"); strings.Contains(first, ".") || within(to, "internal") {
			return "internal/dr imports the standard library only"
		}
	case within(to, "cmd"):
		return "nothing imports a command"
	case within(to, "internal/cli") && !within(from, "cmd") && !within(from, "internal/cli"):
		return "only cmd imports the command line"
	case within(to, "test") && within(from, "internal") || within(to, "test") && within(from, "cmd"):
		return "only tests import test/"
	}
	if d := driver(to); d != "" && driver(from) != d {
		if !within(from, "cmd") && !within(from, "internal/registry") {
			return "only cmd and internal/registry name a driver; everything else uses internal/site"
		}
	}
	if within(to, "internal/api") && !within(to, "internal/api/client") && !slices.ContainsFunc(
		[]string{"cmd", "internal/api", "internal/cli", "internal/registry", "internal/demo", "internal/controller", "internal/console"},
		func(dir string) bool { return within(from, dir) }) {
		return "engines do not know the API"
	}
	if within(from, "internal/vault/segment") && within(to, "internal") && !within(to, "internal/vault/segment") && !within(to, "internal/dr") {
		return "the segment format knows the nouns and nothing else"
	}
	return ""
}

func TestImportLaw(t *testing.T) {
	for _, s := range sources(t) {
		for _, to := range s.imports {
			// A test may use what it needs to run its subject: a tool, a fake, a driver.
			if s.test || within(s.pkg, "test") {
				continue
			}
			if why := lawful(s.pkg, to); why != "" {
				t.Errorf("%s imports %s: %s", s.name, to, why)
			}
		}
	}
}

// TestLawForbids keeps the law from becoming empty.
func TestLawForbids(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		allowed  bool
	}{
		{"internal/dr", "time", true},
		{"internal/dr", "internal/site", false},
		{"internal/dr", "github.com/x/y", false},
		{"internal/replicate", "internal/site", true},
		{"internal/replicate", "internal/site/qemu", false},
		{"internal/recovery/engine", "internal/site/image", false},
		{"internal/vault", "internal/site/qemu/qmp", false},
		{"internal/site/qemu", "internal/site/image", false},
		{"internal/site/qemu", "internal/site/qemu/qmp", true},
		{"internal/registry", "internal/site/qemu", true},
		{"cmd/understudy", "internal/site/qemu", true},
		{"internal/cli", "internal/site/qemu", false},
		{"internal/vault", "internal/api", false},
		{"internal/cli", "internal/api/client", true},
		{"internal/vault/segment", "internal/vault/blob", false},
		{"internal/site", "internal/cli", false},
		{"internal/vault", "test/need", false},
	} {
		if why := lawful(tt.from, tt.to); (why == "") != tt.allowed {
			t.Errorf("%s imports %s: %q, want allowed %v", tt.from, tt.to, why, tt.allowed)
		}
	}
}

func TestPackages(t *testing.T) {
	commented, packages := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		name := path.Base(s.pkg)
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base"}, name) {
			t.Errorf("%s: a package is named for what it does, not %q", s.pkg, name)
		}
		if !s.test && s.lines > maxLines && !ast.IsGenerated(s.file) {
			t.Errorf("%s: %d lines, more than %d: divide it by what its parts are about", s.name, s.lines, maxLines)
		}
		// A folder with nothing but tests is a package, too.
		packages[s.pkg] = true
		if s.file.Doc != nil && (!s.test || !strings.HasSuffix(s.file.Name.Name, "_test")) {
			want := "Package " + s.file.Name.Name + " "
			if s.file.Name.Name == "main" {
				want = "Command "
			}
			if strings.HasPrefix(s.file.Doc.Text(), want) {
				commented[s.pkg] = true
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		if !commented[pkg] {
			t.Errorf("%s: no package comment", pkg)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notSlug = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// slugs are the anchors of a document's headings, as GitHub and GitLab make them.
func slugs(markdown string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(markdown, -1) {
		all = append(all, strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

func TestDocumentLinks(t *testing.T) {
	base := root(t)
	walk(t, func(name string, content []byte) {
		if !strings.HasSuffix(name, ".md") {
			return
		}
		for _, m := range link.FindAllStringSubmatch(string(content), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			text := string(content)
			if target != "" {
				file := filepath.Join(base, filepath.FromSlash(path.Join(path.Dir(name), target)))
				b, err := os.ReadFile(file)
				if err != nil && !isDir(file) {
					t.Errorf("%s: link to %s, which does not exist", name, m[1])
					continue
				}
				text = string(b)
			}
			if anchor != "" && !slices.Contains(slugs(text), anchor) {
				t.Errorf("%s: link to %s: no such heading", name, m[1])
			}
		}
	})
}

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

// machinePath finds paths that exist on one person's machine only.
var machinePath = regexp.MustCompile(`(?:^|[\s"'(=:])(/(?:home|Users|work|root|mnt)/[A-Za-z0-9._-]+)`)

func TestNoMachinePaths(t *testing.T) {
	walk(t, func(name string, content []byte) {
		if strings.Contains(name, "/testdata/") || name == "go.sum" || name == ".git" || strings.ContainsRune(string(content), 0) {
			return
		}
		for i, line := range strings.Split(string(content), "\n") {
			if m := machinePath.FindStringSubmatch(line); m != nil && name != "test/house/house_test.go" {
				t.Errorf("%s:%d: %s is a path of one machine", name, i+1, m[1])
			}
		}
	})
}
