package api

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"understudy/internal/access"
	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
)

var update = flag.Bool("update", false, "write docs/access.md from the code")

const accessDoc = "../../docs/access.md"

// generated begins the part of the page that is printed from the code.
const generated = "<!-- what follows is printed from the code: go test ./internal/api -run AccessDoc -update -->\n"

// tables are the tables of the page.
func tables(a huma.API) string {
	var b strings.Builder
	b.WriteString(generated + "\n## Roles\n\n| verb | allows to |")
	line := "\n|---|---|"
	for _, r := range access.Roles() {
		fmt.Fprintf(&b, " %s |", r)
		line += ":-:|"
	}
	b.WriteString(line + "\n")
	for _, v := range access.Verbs() {
		fmt.Fprintf(&b, "| `%s` | %s |", v, v.Means())
		for _, r := range access.Roles() {
			if r.Has(v) {
				b.WriteString(" yes |")
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n## Operations\n\nWhere there are several verbs, the content of the request decides which one it takes.\n\n| operation | verb | on | roles |\n|---|---|---|---|\n")
	rows := map[string]string{}
	operations(a, func(method, path string, o *huma.Operation) {
		n, ok := needs[o.OperationID]
		if !ok {
			return
		}
		var verbs, roles []string
		for _, v := range n.verbs {
			verbs = append(verbs, "`"+string(v)+"`")
		}
		for _, r := range access.Roles() {
			if slices.ContainsFunc(n.verbs, r.Has) {
				roles = append(roles, string(r))
			}
		}
		if n.on == anyone {
			verbs, roles = []string{"none"}, []string{"anyone"}
		}
		rows[path+" "+method] = fmt.Sprintf("| `%s` %s %s | %s | %s | %s |\n", o.OperationID, method, path, strings.Join(verbs, ", "), n.on, strings.Join(roles, ", "))
	})
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		b.WriteString(rows[key])
	}
	return b.String()
}

func TestAccessDoc(t *testing.T) {
	_, a := New(nil, Options{})
	data, err := os.ReadFile(accessDoc)
	if err != nil {
		t.Fatal(err)
	}
	head, have, ok := strings.Cut(string(data), generated)
	if !ok {
		t.Fatalf("%s lacks %q", accessDoc, generated)
	}
	want := tables(a)
	if *update {
		if err := os.WriteFile(accessDoc, []byte(head+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if generated+have != want {
		t.Errorf("%s is not what the code says: go test ./internal/api -run AccessDoc -update", accessDoc)
	}
}

// documented are the roles of operations, as the page has them.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(accessDoc)
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(data), "## Operations")
	roles := map[string][]string{}
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		id := strings.Split(line, "`")
		if len(cells) == 6 && len(id) > 2 {
			roles[id[1]] = strings.Split(strings.TrimSpace(cells[4]), ", ")
		}
	}
	return roles
}

// Every operation is allowed to just the roles that the page names, refuses everyone else, and is refused to a caller who
// has a role elsewhere unless it filters or checks what it is asked.
func TestEveryOperationForEveryRole(t *testing.T) {
	w := newWorld(t, Options{})
	doc, admin := documented(t), w.admin()
	tokens := map[string]string{"nobody": ""}
	for _, r := range access.Roles() {
		for name, scope := range map[string]string{"a-" + string(r): "*", "a-" + string(r) + "-elsewhere": "group:elsewhere"} {
			v, err := admin.AddToken(t.Context(), wire.TokenRequest{Name: name, Grants: []wire.RoleGrant{{Role: string(r), Scope: scope}}})
			if err != nil {
				t.Fatal(err)
			}
			tokens[name] = v.Secret
		}
	}
	_, a := New(w.c, Options{})
	count := 0
	operations(a, func(method, path string, o *huma.Operation) {
		roles, ok := doc[o.OperationID]
		if !ok {
			t.Errorf("%s is not in %s", o.OperationID, accessDoc)
			return
		}
		if roles[0] == "anyone" {
			return
		}
		count++
		path = strings.NewReplacer("{name}", "x", "{machine}", "y", "{extension}", "z", "{point}", "p", "{label}", "l", "{file}", "f", "{disk}", "d").Replace(path)
		for name, token := range tokens {
			if o.OperationID == "log-out" || o.OperationID == "remove-token" {
				continue // tried elsewhere: it would take the tokens away
			}
			var headers []string
			if token != "" {
				headers = []string{"Authorization", "Bearer " + token}
			}
			status := w.status(method, path, headers...)
			role, elsewhere := strings.CutSuffix(strings.TrimPrefix(name, "a-"), "-elsewhere")
			n := needs[o.OperationID]
			allowed := slices.Contains(roles, role) && (!elsewhere || n.on == somewhere)
			switch {
			case name == "nobody" && status != 401, name != "nobody" && !allowed && status != 403, allowed && (status == 401 || status == 403 && !elsewhere):
				t.Errorf("%s %s for %s: %d, allowed %v", method, path, name, status, allowed)
			}
		}
	})
	if count < 100 {
		t.Errorf("only %d operations were tried", count)
	}
}

// status is the status that a request is answered with, also when the answer is a stream that does not end.
func (w *world) status(method, path string, headers ...string) int {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader("{}"))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode
}

// An operation without a need is refused to everyone.
func TestNoNeedNoAccess(t *testing.T) {
	s := &server{}
	who := access.Caller{Name: "root", Grants: access.Grants{{Role: access.Admin, Scope: access.Everywhere}}}
	c := humago.NewContext(&huma.Operation{OperationID: "new"}, httptest.NewRequest("GET", "/", nil), httptest.NewRecorder())
	if p := s.refuse(c, who, need{}); p == nil || p.Status != 403 {
		t.Errorf("%+v", p)
	}
	for id, n := range needs {
		if n.on == nowhere || n.on != anyone && len(n.verbs) == 0 {
			t.Errorf("%s needs nothing", id)
		}
	}
}

// Lists show what is in the caller's scope, and what a request's content names is checked.
func TestScopes(t *testing.T) {
	w := newWorld(t, Options{})
	admin, ctx := w.admin(), t.Context()
	for _, name := range []string{"east", "west", "north"} {
		if _, err := admin.AddSite(ctx, wire.Site{Name: name, Provider: "fake", Config: map[string]string{"secret": "s"}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.AddVault(ctx, wire.Vault{Name: "main", URL: "file://" + t.TempDir() + "/v"}); err != nil {
		t.Fatal(err)
	}
	group := func(name, site, target string) wire.Group {
		return wire.Group{Name: name, Site: site, Target: target, Vault: "main", Machines: []wire.GroupMachine{{Name: name + "-m"}}}
	}
	for _, g := range []wire.Group{group("shop", "east", "west"), group("bank", "north", "north")} {
		w.machine(g.Site, g.Name+"-m")
		if _, err := admin.Protect(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	as := func(name, role, scope string) *client.Client {
		v, err := admin.AddToken(ctx, wire.TokenRequest{Name: name, Grants: []wire.RoleGrant{{Role: role, Scope: scope}}})
		if err != nil {
			t.Fatal(err)
		}
		return client.New(w.url, v.Secret)
	}
	refused := func(what string, err error) {
		t.Helper()
		if dr.KindOf(err) != dr.KindForbidden {
			t.Errorf("%s: %v", what, err)
		}
	}
	eastViewer := as("ev", "viewer", "site:east")
	sites, err := eastViewer.ListSites(ctx)
	if err != nil || len(sites) != 1 || sites[0].Name != "east" || sites[0].Config != nil {
		t.Errorf("%+v %v", sites, err)
	}
	if all, err := admin.ListSites(ctx); err != nil || len(all) != 3 || all[0].Config["secret"] != "s" {
		t.Errorf("%+v %v", all, err)
	}
	groups, err := eastViewer.AllGroups(ctx, client.ListGroupsQuery{})
	if err != nil || len(groups) != 1 || groups[0].Name != "shop" {
		t.Errorf("%+v %v", groups, err)
	}
	status, err := as("bv", "viewer", "group:bank").AllStatus(ctx, client.StatusQuery{})
	if err != nil || len(status) != 1 || status[0].Group != "bank" {
		t.Errorf("%+v %v", status, err)
	}
	_, err = eastViewer.ShowGroup(ctx, "bank")
	refused("a group of another site", err)
	_, err = eastViewer.ShowGroup(ctx, "nothing")
	refused("a group that does not exist", err)

	// The right to one of its sites is not the right to change a group.
	eastOperator := as("eo", "operator", "site:east")
	refused("pause with one of two sites", eastOperator.Pause(ctx, "shop"))
	refused("remove", eastOperator.Unprotect(ctx, "shop"))
	_, err = eastOperator.Protect(ctx, group("shop", "east", "east"))
	refused("take a group to the sites that one has", err)
	shopOperator := as("so", "operator", "group:shop")
	if err := shopOperator.Pause(ctx, "shop"); err != nil {
		t.Error(err)
	}
	_, err = shopOperator.Protect(ctx, group("bank", "north", "north"))
	refused("protect another group", err)
	_, err = shopOperator.Clone(ctx, wire.Clone{Group: "shop", Point: "latest", Machine: "shop-m", To: "north", As: "copy"})
	refused("make a machine at a site that is not in scope", err)

	// What runs on the controller or reads its secrets takes who configures it, wherever else the caller may do everything.
	const plain = "name: p\ngroup: shop\nstages:\n  - name: one\n    machines: [shop-m]\n"
	everywhere := as("op", "operator", "*")
	for what, c := range map[string]*client.Client{"everywhere": everywhere, "group": shopOperator} {
		_, err = c.ApplyPlan(ctx, wire.PlanText{Text: plain + "after:\n  - name: run\n    script: {argv: [id]}\n"})
		refused("a plan with a script, "+what, err)
		_, err = c.ApplyPlan(ctx, wire.PlanText{Text: plain + "secrets:\n  token: {file: /etc/shadow}\n"})
		refused("a plan that reads a file, "+what, err)
		if _, err = c.ApplyPlan(ctx, wire.PlanText{Text: plain}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err = admin.ApplyPlan(ctx, wire.PlanText{Text: plain + "after:\n  - name: run\n    script: {argv: [id]}\n"}); err != nil {
		t.Error(err)
	}

	// Who may rehearse may not fail over.
	runner := as("dr", "drill-runner", "group:shop")
	_, err = runner.Failover(ctx, "shop", wire.Failover{Kind: "unplanned"})
	refused("failover by a drill runner", err)
	_, err = runner.Failover(ctx, "shop", wire.Failover{Kind: "planned"})
	refused("planned failover by a drill runner", err)
	if _, err = runner.Failover(ctx, "shop", wire.Failover{Kind: "test"}); dr.KindOf(err) == dr.KindForbidden {
		t.Errorf("test failover by a drill runner: %v", err)
	}
}
