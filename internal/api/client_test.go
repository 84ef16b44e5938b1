package api

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// notInClient are operations that the Go client leaves to others, and why.
var notInClient = map[string]string{
	"GET /livez": "for supervisors", "GET /readyz": "for supervisors", "GET /metrics": "for Prometheus",
	"GET /v1/events/stream":    "for the console",
	"GET /v1/approvals/{name}": "the list has all of it",
	"GET /v1/login-methods":    "for browsers", "POST /v1/bootstrap": "for browsers", "POST /v1/session": "for browsers", "DELETE /v1/session": "for browsers",
}

// TestClientCoversOperations reads the paths that the client asks for, and looks for every operation among them: one that
// no command can reach has to say why.
func TestClientCoversOperations(t *testing.T) {
	files, err := filepath.Glob("client/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var source strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(data)
	}
	asked := map[string]bool{}
	text := source.String()
	method := `(?:http\.Method(Get|Post|Put|Delete)|(?:page|all)\[[^\]]*\]\(ctx, c|c\.file\(ctx)`
	parts := regexp.MustCompile(method + `, path\(((?:[^()]|\([^()]*\))*)\)`)
	arguments := regexp.MustCompile(`\([^()]*\)`) // of conversions in a path
	for _, m := range parts.FindAllStringSubmatch(text, -1) {
		var segments []string
		for part := range strings.SplitSeq(arguments.ReplaceAllString(m[2], ""), ",") {
			if part = strings.TrimSpace(part); strings.HasPrefix(part, `"`) {
				segments = append(segments, strings.Trim(part, `"`))
			} else {
				segments = append(segments, "{}")
			}
		}
		asked[verb(m[1])+" /v1/"+strings.Join(segments, "/")] = true
	}
	whole := regexp.MustCompile(method + `, (?:fmt\.Sprintf\()?"(/v1/[^"?]*)`)
	for _, m := range whole.FindAllStringSubmatch(text, -1) {
		asked[verb(m[1])+" "+m[2]] = true
	}
	_, _, a := serve(t)
	parameter := regexp.MustCompile(`\{[a-z]+\}`)
	covered := map[string]bool{}
	known := map[string]bool{} // of what is asked: it is an operation
	operations(a, func(method, path string, op *huma.Operation) {
		key := method + " " + parameter.ReplaceAllString(path, "{}")
		for ask := range asked {
			if reaches(ask, key) {
				known[ask], covered[key] = true, true
			}
		}
		if _, ok := notInClient[method+" "+path]; !covered[key] && !ok {
			t.Errorf("the client has nothing for %s %s (%s)", method, path, op.OperationID)
		} else if covered[key] && ok {
			t.Errorf("the client has %s %s", method, path)
		}
	})
	for key := range asked {
		if !known[key] {
			t.Errorf("the client asks for %s, which is no operation", key)
		}
	}
	if len(asked) < 80 {
		t.Errorf("only %d operations were found in the client", len(asked))
	}
}

// reaches reports whether a request of the client may be for an operation: what is a variable there may be a word here.
func reaches(ask, operation string) bool {
	a, o := strings.Split(ask, "/"), strings.Split(operation, "/")
	if len(a) != len(o) {
		return false
	}
	for i := range a {
		if a[i] != o[i] && a[i] != "{}" {
			return false
		}
	}
	return true
}

// verb is the HTTP method of a constant's name; lists are read with GET.
func verb(name string) string {
	if name == "" {
		return "GET"
	}
	return strings.ToUpper(name)
}
