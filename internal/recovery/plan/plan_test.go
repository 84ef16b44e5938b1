package plan

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
)

const whole = `name: shop-west
group: shop
description: Bring the shop up.
variables: {zone: example.net}
secrets:
  token: {env: DNS_TOKEN}
before:
  - name: go ahead
    approval: {message: "Move ${run.group}?"}
    timeout: 1h
    when: {kinds: [planned, unplanned], directions: [failover]}
stages:
  - name: data
    machines: [db, cache]
    after:
      - name: check rows
        guest: {machine: db, command: [psql, -c, "select 1"], env: {PGPASSWORD: "${secret.token}"}}
        retries: 3
        backoff: 2s
        onError: ask
  - name: front
    before:
      - name: settle
        wait: 90s
    machines: [web]
    after:
      - name: page
        probe: {machine: web, kind: http, port: 80, path: /}
after:
  - name: extensions
    extensions: {}
  - name: dns
    http:
      url: https://dns.${var.zone}/shop
      headers: {Authorization: "Bearer ${secret.token}"}
      body: '{"a": "${machine.web.address.80}"}'
      expect: [200, 204]
    repeatable: true
  - name: report
    script:
      text: |
        #!/bin/sh
        echo "${HOME} ${run.target}"
    onError: continue
`

var machines = []string{"db", "cache", "web"}

func TestParse(t *testing.T) {
	p, err := Check("p.yaml", []byte(whole), machines)
	if err != nil {
		t.Fatal(err)
	}
	if p.Stages[1].Before[0].Wait != Duration(90*time.Second) || p.Stages[0].After[0].OnFailure() != Ask || len(p.Actions()) != 7 {
		t.Errorf("%+v", p)
	}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again Plan
	if err := json.Unmarshal(data, &again); err != nil || !reflect.DeepEqual(p, again) {
		t.Errorf("by way of JSON: %v\n%+v\n%+v", err, p, again)
	}
	if other := p; !p.Same(other) {
		t.Error("not the same as itself")
	} else if other.Name = "other"; p.Same(other) {
		t.Error("the same as another")
	}
}

// TestProblems holds each fault against the line, the column and the words in which it is reported.
func TestProblems(t *testing.T) {
	const head = "name: p\ngroup: shop\nstages:\n  - name: one\n    machines: [db, cache, web]\n"
	for name, tt := range map[string]struct{ text, want string }{
		"empty":              {"", "p.yaml:1:1: the plan is empty"},
		"no YAML":            {"name: [", "p.yaml:1:7: "},
		"unknown key":        {head + "afterr: []\n", `p.yaml:6:1: afterr: unknown field "afterr"`},
		"unknown action key": {head + "after:\n  - name: x\n    skript: {}\n", `p.yaml:8:5: after[0].skript: unknown field "skript"`},
		"twice":              {head + "name: q\n", "p.yaml:6:1: "},
		"text for a list":    {strings.Replace(head, "[db, cache, web]", "db", 1), "p.yaml:5:15: stages[0].machines: string was used where a list is expected"},
		"bad duration":       {head + "after:\n  - name: x\n    wait: soon\n", `p.yaml:8:11: after[0].wait: duration "soon" is not valid`},
		"bad name":           {strings.Replace(head, "name: p", "name: My Plan", 1), `p.yaml:1:7: name: "My Plan" is no name of a plan`},
		"no group":           {strings.Replace(head, "group: shop\n", "", 1), "p.yaml:1:1: group: missing"},
		"left out":           {strings.Replace(head, ", web]", "]", 1), "p.yaml:4:5: stages: machine web of group shop is in no stage"},
		"unknown machine":    {strings.Replace(head, "web]", "web, mail]", 1), "p.yaml:5:32: stages[0].machines[3]: group shop has no machine mail"},
		"machine twice":      {head + "  - name: two\n    machines: [db]\n", `p.yaml:7:16: stages[1].machines[0]: machine db is in stage "one" already`},
		"stage twice":        {head + "  - name: one\n    after: [{name: a, wait: 1s}]\n", `p.yaml:6:11: stages[1].name: stage "one" is there twice`},
		"idle stage":         {head + "  - name: two\n", `p.yaml:6:5: stages[1]: stage "two" does nothing`},
		"action twice":       {head + "after:\n  - {name: a, wait: 1s}\n  - {name: a, wait: 1s}\n", `p.yaml:8:12: after[1].name: action "a" is there twice`},
		"nothing to do":      {head + "after:\n  - name: a\n", `p.yaml:7:5: after[0]: action "a" says nothing to do`},
		"two kinds":          {head + "after:\n  - {name: a, wait: 1s, extensions: {}}\n", `action "a" is wait and extensions at once`},
		"onError":            {head + "after:\n  - {name: a, wait: 1s, onError: ignore}\n", `p.yaml:7:34: after[0].onError: "ignore": use fail, continue or ask`},
		"kind":               {head + "after:\n  - name: a\n    wait: 1s\n    when: {kinds: [drill]}\n", `p.yaml:9:20: after[0].when.kinds[0]: "drill": use test, planned or unplanned`},
		"direction":          {head + "after:\n  - name: a\n    wait: 1s\n    when: {directions: [back]}\n", `"back": use failover or failback`},
		"too early":          {head + "before:\n  - name: a\n    guest: {machine: db, command: [ls]}\n", `p.yaml:8:22: before[0].guest.machine: machine db does not run yet: it starts in stage "one"`},
		"extensions early":   {head + "before:\n  - name: a\n    extensions: {}\n", "no machine runs yet"},
		"guest unknown":      {head + "after:\n  - name: a\n    guest: {machine: mail, command: [ls]}\n", `no stage has a machine "mail"`},
		"no command":         {head + "after:\n  - name: a\n    guest: {machine: db}\n", "after[0].guest.command: missing"},
		"script both":        {head + "after:\n  - name: a\n    script: {argv: [ls], text: ls}\n", "give one of argv"},
		"variable":           {head + "after:\n  - name: a\n    script: {text: 'echo ${var.zone}'}\n", `p.yaml:8:20: after[0].script.text: no variable "zone"`},
		"secret shown":       {head + "secrets: {t: {env: T}}\nafter:\n  - name: a\n    script: {argv: [curl, '${secret.t}']}\n", "p.yaml:9:27: after[0].script.argv[1]: a secret in a command or a message can be seen by others"},
		"secret unknown":     {head + "after:\n  - name: a\n    http: {url: 'https://x/${secret.t}'}\n", `no secret "t"`},
		"secret of nowhere":  {head + "secrets: {t: {}}\n", "secrets.t: give one of env and file"},
		"run name":           {head + "after:\n  - name: a\n    script: {text: 'echo ${run.colour}'}\n", "${run.colour}: use one of id, kind"},
		"machine name":       {head + "after:\n  - name: a\n    script: {text: 'echo ${machine.web.ip}'}\n", "use ${machine.NAME.name} or ${machine.NAME.address.PORT}"},
		"machine unknown":    {head + "after:\n  - name: a\n    script: {text: 'echo ${machine.mail.name}'}\n", `no stage has a machine "mail"`},
		"URL":                {head + "after:\n  - name: a\n    http: {url: 'ftp://x'}\n", `p.yaml:8:17: after[0].http.url: "ftp://x" is no http or https URL`},
		"status":             {head + "after:\n  - name: a\n    http: {url: 'http://x', expect: [99]}\n", "99 is no HTTP status"},
		"probe":              {head + "after:\n  - name: a\n    probe: {machine: web, kind: tcp}\n", "0 is no TCP port"},
		"negative":           {head + "after:\n  - name: a\n    approval: {}\n    retries: -1\n", "retries: -1: between 0 and 1000"},
		"two plans":          {head + "---\n" + head, "p.yaml: more than one document"},
		"long":               {strings.Repeat("#", maxText+1), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Check("p.yaml", []byte(tt.text), machines)
			var list *Problems
			if !errors.As(err, &list) || dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
				t.Fatalf("%v (kind %s, hint %q)", err, dr.KindOf(err), dr.Hint(err))
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

// TestAllProblems reports every fault of a plan, in the order of its lines.
func TestAllProblems(t *testing.T) {
	_, err := Check("p.yaml", []byte("name: P\ngroup: shop\nstages:\n  - name: one\n    machines: [db, mail]\nafter:\n  - name: a\n    wait: 1s\n    onError: x\n"), machines)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 5 || !strings.Contains(lines[0], ":1:7:") || !strings.Contains(lines[4], ":9:14:") {
		t.Errorf("%s", err)
	}
}

func TestApplies(t *testing.T) {
	a := Action{When: When{Kinds: []Kind{Planned}, Directions: []Direction{Failback}}}
	if a.Applies(Planned, Failover) || a.Applies(Test, Failback) || !a.Applies(Planned, Failback) || !(Action{}).Applies(Test, Failover) {
		t.Error(a)
	}
}

func TestMachineRef(t *testing.T) {
	for ref, want := range map[string][3]string{
		"web.name": {"web", "name", ""}, "web.address.80": {"web", "address", "80"}, "a.b.name": {"a.b", "name", ""}, "a.address.1.address.2": {"a.address.1", "address", "2"},
	} {
		m, what, port, ok := MachineRef(ref)
		if !ok || [3]string{m, what, port} != want {
			t.Errorf("%s: %s %s %s %v", ref, m, what, port, ok)
		}
	}
	for _, ref := range []string{"", "web", "web.ip", ".name", ".address.80", "web.address."} {
		if _, _, _, ok := MachineRef(ref); ok {
			t.Errorf("%q is taken for a reference", ref)
		}
	}
}

// TestScaffold checks that the plan to begin with is a plan, and that so are its examples when they are let in.
func TestScaffold(t *testing.T) {
	g := dr.Group{Name: "shop", Machines: []dr.MachinePolicy{{Name: "web", Order: 2}, {Name: "db", Order: 1}, {Name: "cache", Order: 1}}}
	text := Scaffold(g, "")
	p, err := Check("shop.yaml", []byte(text), machines)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Stages) != 2 || p.Stages[0].Machines[0] != "cache" || p.Stages[1].Machines[0] != "web" {
		t.Errorf("%+v", p.Stages)
	}
	var let []string
	for _, line := range strings.Split(text, "\n") {
		if bare := strings.TrimLeft(line, " "); strings.HasPrefix(bare, "#") && !strings.Contains(line, ". ") && !strings.HasSuffix(line, ".") && !strings.HasSuffix(line, "healthy.") && !strings.HasPrefix(line, "# A") {
			line = strings.Repeat(" ", len(line)-len(bare)) + strings.TrimPrefix(strings.TrimPrefix(bare, "#"), " ")
			if strings.HasPrefix(bare, "#   ") && len(line)-len(strings.TrimLeft(line, " ")) == 2 {
				line = "  " + strings.TrimLeft(line, " ")
			}
		}
		let = append(let, line)
	}
	if _, err := Check("shop.yaml", []byte(strings.Join(let, "\n")), machines); err != nil {
		t.Errorf("with its examples: %v\n%s", err, strings.Join(let, "\n"))
	}
}

// TestDrawings compares the drawings of a plan with files; set UNDERSTUDY_UPDATE=1 to write them.
func TestDrawings(t *testing.T) {
	p, err := Parse("p.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"outline.txt": p.Outline(), "graph.mmd": p.Mermaid(), "graph.dot": p.Dot()} {
		file := filepath.Join("testdata", name)
		if os.Getenv("UNDERSTUDY_UPDATE") != "" {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || string(want) != got {
			t.Errorf("%s (%v):\n%s", name, err, got)
		}
	}
}

// TestDocumentedPlan checks that the example of the documentation is a plan.
func TestDocumentedPlan(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "plan.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```yaml\n")
	example, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatal("docs/plan.md has no example")
	}
	if _, err := Check("docs/plan.md", []byte(example), []string{"shop-db", "shop-web"}); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("name: p\nstages: [{}]\nafter: [{name: &a x, wait: *a}]\n")
	f.Add("- 1\n")
	f.Add("a: !!binary x\n<<: *b\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Check("p.yaml", []byte(text), machines)
		var list *Problems
		if err != nil && (!errors.As(err, &list) || len(list.List) == 0) {
			t.Fatalf("%v", err)
		}
		if err == nil {
			_, _, _ = p.Outline(), p.Mermaid(), p.Dot()
		}
	})
}
