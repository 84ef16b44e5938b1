package recovery_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/recovery/action"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// Command lets plans run programs in the machines at west.
func (r *recorder) Command(ctx context.Context, machine string, c site.Command) (site.CommandResult, error) {
	return r.w.west.Command(ctx, machine, c)
}

// deeds notes what actions did, in order.
type deeds struct {
	mu   sync.Mutex
	list []string
}

func (d *deeds) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, fmt.Sprintf(format, args...))
}

func (d *deeds) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list)
}

// fakeExtensions restores extensions as the test says.
type fakeExtensions struct {
	deeds *deeds
	fail  string // reason
}

func (f *fakeExtensions) Restore(_ context.Context, q recovery.ExtensionRequest) ([]dr.ExtensionResult, error) {
	var names []string
	var list []dr.ExtensionResult
	for _, m := range q.Machines {
		names = append(names, q.As[m.Name])
		r := dr.ExtensionResult{Machine: m.Name, Extension: "metrics", Outcome: dr.ExtensionRestored}
		if f.fail != "" {
			r.Outcome, r.Reason = dr.ExtensionNotRestored, f.fail
		}
		list = append(list, r)
	}
	slices.Sort(names)
	f.deeds.add("extensions of %s from %s to %s, rehearsal %v", strings.Join(names, " "), q.Source, q.Target, q.Rehearsal)
	return list, nil
}

// planWorld is a world whose actions append to a file and are answered by a web server.
type planWorld struct {
	*world
	deeds *deeds
	ext   *fakeExtensions
	web   *httptest.Server
	said  string // file that scripts append to
	code  int    // that the web server answers with
}

func newPlanWorld(t *testing.T) *planWorld {
	w := &planWorld{world: newWorld(t), deeds: &deeds{}, code: 200}
	w.said = filepath.Join(w.dir, "said")
	w.ext = &fakeExtensions{deeds: w.deeds}
	w.web = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.deeds.add("%s %s %s key %d %s", r.Method, r.URL.Path, body, len(r.Header.Get("Idempotency-Key")), r.Header.Get("Authorization"))
		rw.WriteHeader(w.code)
		fmt.Fprintln(rw, "token was", r.Header.Get("Authorization"))
	}))
	t.Cleanup(w.web.Close)
	w.west.Exec = func(_ context.Context, machine string, c site.Command) (site.CommandResult, error) {
		var in action.Context
		if err := json.Unmarshal(c.Stdin, &in); err != nil {
			return site.CommandResult{}, err
		}
		w.deeds.add("in %s: %s", strings.TrimSuffix(machine, in.Understudy.Run), strings.Join(c.Argv, " "))
		code := 0
		if c.Argv[0] == "false" {
			code = 3
		}
		return site.CommandResult{ExitCode: code, Stdout: []byte("out of " + c.Argv[0])}, nil
	}
	w.start()
	return w
}

func (w *planWorld) start() {
	w.t.Helper()
	o := options(w.dir, w.store, w.vault)
	o.Sites, o.Replicator, o.Extensions = w.site, w, w.ext
	w.rec = recovery.New(o)
	must(w.t, w.rec.Open(w.t.Context()))
}

// apply saves a plan named p of the stages below and the text given.
func (w *planWorld) apply(text string) {
	w.t.Helper()
	_, _, _, err := w.rec.ApplyPlan(w.t.Context(), "p.yaml", []byte("name: p\ngroup: shop\n"+w.fill(text)), "tester")
	must(w.t, err)
}

const stages = "stages:\n  - {name: data, machines: [db, cache]}\n  - {name: front, machines: [web]}\n"

func (w *planWorld) fill(text string) string {
	if !strings.Contains(text, "stages:") {
		text = stages + text
	}
	return strings.NewReplacer("SAID", w.said, "WEB", w.web.URL).Replace(text)
}

func (w *planWorld) begin(kind string) store.Run {
	w.t.Helper()
	run, err := w.rec.StartPlan(w.t.Context(), recovery.Request{Kind: kind, Plan: "p", By: "tester"})
	must(w.t, err)
	return run
}

// lines are what scripts said.
func (w *planWorld) lines() []string {
	w.t.Helper()
	data, err := os.ReadFile(w.said)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// asked waits until the run asks something.
func (w *planWorld) asked(id string) store.Question {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer stop()
	var q store.Question
	enough := errors.New("enough")
	err := w.rec.Watch(ctx, id, func(run store.Run, _ []store.Step) error {
		var open bool
		var err error
		if q, open, err = w.rec.Question(ctx, id); err != nil {
			return err
		}
		if open && run.State == store.RunWaiting {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		w.t.Fatalf("the run asks nothing: %v", err)
	}
	return q
}

func (w *planWorld) answer(id, answer, note string) {
	w.t.Helper()
	_, err := w.rec.Answer(w.t.Context(), id, recovery.Answer{Answer: answer, Note: note, By: "ann"})
	must(w.t, err)
}

func outcomes(res recovery.Result) string {
	var list []string
	for _, a := range res.Actions {
		list = append(list, a.Name+"="+string(a.Outcome))
	}
	return strings.Join(list, " ")
}

// TestPlanRun carries out every kind of action around the stages, in order, with what each is told.
func TestPlanRun(t *testing.T) {
	w := newPlanWorld(t)
	defer w.close()
	t.Setenv("PLAN_TEST_TOKEN", "s3cr3t/value")
	w.apply(`variables: {zone: example.net}
secrets: {token: {env: PLAN_TEST_TOKEN}}
before:
  - name: first
    script: {text: 'echo first-${run.kind}-${var.zone}-$UNDERSTUDY_VAR_ZONE >> SAID; cat > SAID.first; cmp SAID.first $UNDERSTUDY_CONTEXT'}
  - {name: other kind, wait: 1h, when: {kinds: [unplanned]}}
stages:
  - name: data
    machines: [db, cache]
    after:
      - {name: in guest, guest: {machine: db, command: [check, "${machine.web.name}"]}}
      - {name: data context, script: {argv: [cp, context.json, SAID.data]}}
  - name: front
    before: [{name: settle, wait: 10ms}]
    machines: [web]
    after: [{name: page, probe: {machine: web, kind: tcp, port: 7000}}]
after:
  - {name: extensions, extensions: {}}
  - name: dns
    http: {url: "WEB/zone/${var.zone}", headers: {Authorization: "Bearer ${secret.token}"}, body: 'to ${run.target}'}
  - {name: env, script: {text: 'echo "env-$TOKEN-$UNDERSTUDY_ATTEMPT-${#UNDERSTUDY_IDEMPOTENCY_KEY}-$PLAN_TEST_TOKEN" | tee -a SAID', env: {TOKEN: "${secret.token}"}}}
`)
	run := w.wait(w.begin(recovery.KindPlanned).ID, store.RunSucceeded)
	res := result(t, run)
	if got, want := outcomes(res), "first=done other kind=not-applicable in guest=done data context=done settle=done page=done extensions=done dns=done env=done"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := fmt.Sprint(w.lines()), "[first-planned-example.net-example.net env-s3cr3t/value-1-32-]"; got != want {
		t.Errorf("scripts said %s, want %s", got, want)
	}
	want := []string{"in db: check web", "extensions of cache db web from east to west, rehearsal false", "POST /zone/example.net to west key 32 Bearer s3cr3t/value"}
	if got := w.deeds.all(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if len(res.Extensions) != 3 || res.Ready.Before(res.Healthy) || len(res.Machines) != 3 {
		t.Errorf("%+v", res)
	}
	if w.started[2] != "web" {
		t.Errorf("started %v", w.started)
	}
	last := res.Actions[8]
	if last.Output != "env-***-1-32-" || last.Attempts != 1 || last.Ended.IsZero() {
		t.Errorf("%+v", last)
	}
	// Before anything is changed there is no point and no machine; after a stage its machines are known.
	var before, data action.Context
	read := func(file string, c *action.Context) {
		text, err := os.ReadFile(file)
		must(t, err)
		must(t, json.Unmarshal(text, c))
	}
	read(w.said+".first", &before)
	read(w.said+".data", &data)
	if before.FailoverType != "Planned" || before.FailoverDirection != "PrimaryToSecondary" || before.GroupId != "0" || len(before.VmMap) != 3 || before.VmMap["db"].ResourceGroupName != "" {
		t.Errorf("%+v", before)
	}
	if data.GroupId != "1" || data.Understudy.Stage != "data" || len(data.VmMap) != 2 || data.VmMap["db"] != (action.VM{ResourceGroupName: "west", CloudServiceName: "west", RoleName: "db", RecoveryPointId: res.Point}) ||
		len(data.Understudy.Machines) != 3 || data.Understudy.Machines[0].Healthy.IsZero() || !data.Understudy.Machines[2].Healthy.IsZero() {
		t.Errorf("%+v", data)
	}
	w.noSecret("s3cr3t")
}

// noSecret looks for a value in everything that the controller keeps.
func (w *planWorld) noSecret(value string) {
	w.t.Helper()
	must(w.t, filepath.WalkDir(w.dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.HasPrefix(name, w.said) {
			return err
		}
		data, err := os.ReadFile(name)
		if strings.Contains(string(data), value) {
			w.t.Errorf("%s holds a secret", name)
		}
		return err
	}))
}

func TestPlanFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		kind, plan string
		state      store.RunState
		outcomes   string
		want       string // in the run's error or, when it succeeded, in the action's
		said       string
		protection dr.State
	}{
		"before planned: production is left alone": {recovery.KindPlanned, "before: [{name: a, script: {text: 'echo no >&2; exit 4'}}]", store.RunFailed,
			"a=failed", `action "a": exit status 4: no`, "", dr.StateProtected},
		"before unplanned: nothing is changed": {recovery.KindFailover, "before: [{name: a, script: {text: 'exit 1'}}]", store.RunFailed,
			"a=failed", "exit status 1", "", dr.StateProtected},
		"between: the failover failed": {recovery.KindFailover, "stages: [{name: one, machines: [db, cache, web], after: [{name: a, guest: {machine: db, command: ['false']}}]}]", store.RunFailed,
			"a=failed", "exit status 3: out of false", "", dr.StateFailoverFailed},
		"after: the group has moved": {recovery.KindFailover, "after: [{name: a, script: {text: 'exit 1'}}, {name: b, script: {text: 'echo b >> SAID'}}]", store.RunFailed,
			"a=failed", "exit status 1", "", dr.StateFailedOver},
		"goes on": {recovery.KindTest, "after: [{name: a, script: {text: 'exit 1'}, onError: continue}, {name: b, script: {text: 'echo b >> SAID'}}]", store.RunSucceeded,
			"a=failed b=done", "exit status 1", "b", dr.StateProtected},
		"retries": {recovery.KindTest, "after: [{name: a, script: {text: 'echo $UNDERSTUDY_ATTEMPT >> SAID; test $UNDERSTUDY_ATTEMPT = 3'}, retries: 3, backoff: 1ms}]", store.RunSucceeded,
			"a=done", "", "1 2 3", dr.StateProtected},
		"retries end": {recovery.KindTest, "after: [{name: a, script: {text: 'echo $UNDERSTUDY_ATTEMPT >> SAID; exit 9'}, retries: 1, backoff: 1ms}]", store.RunFailed,
			"a=failed", "exit status 9", "1 2", dr.StateProtected},
		"timeout kills children": {recovery.KindTest, "after: [{name: a, script: {text: 'sleep 60 & wait; echo late >> SAID'}, timeout: 200ms}]", store.RunFailed,
			"a=failed", "took too long (more than 200ms)", "", dr.StateProtected},
		"no program": {recovery.KindTest, "after: [{name: a, script: {argv: [/no/such/program]}}]", store.RunFailed,
			"a=failed", "start /no/such/program", "", dr.StateProtected},
		"status": {recovery.KindTest, "after: [{name: a, http: {url: 'WEB', expect: [418]}}]", store.RunFailed,
			"a=failed", "answered 200 OK", "", dr.StateProtected},
		"no secret": {recovery.KindTest, "secrets: {t: {env: PLAN_TEST_NOTHING}}\nafter: [{name: a, http: {url: 'WEB', headers: {A: '${secret.t}'}}}]", store.RunFailed,
			"a=failed", "secret t: the controller has no environment variable PLAN_TEST_NOTHING", "", dr.StateProtected},
		"no port": {recovery.KindTest, "after: [{name: a, script: {text: 'echo ${machine.web.address.81}'}}]", store.RunFailed,
			"a=failed", "web has no port at west that leads to its port 81", "", dr.StateProtected},
		"approval too late": {recovery.KindTest, "after: [{name: a, approval: {}, timeout: 50ms}]", store.RunFailed,
			"a=failed", "nobody approved within 50ms", "", dr.StateProtected},
	} {
		t.Run(name, func(t *testing.T) {
			w := newPlanWorld(t)
			defer w.close()
			w.apply(tt.plan)
			run := w.wait(w.begin(tt.kind).ID, tt.state)
			res := result(t, run)
			if got := outcomes(res); got != tt.outcomes {
				t.Errorf("outcomes %s, want %s", got, tt.outcomes)
			}
			found := run.Error
			if tt.state == store.RunSucceeded {
				found = res.Actions[0].Error
			}
			if !strings.Contains(found, tt.want) || tt.want == "" && found != "" {
				t.Errorf("error %q, want %q", found, tt.want)
			}
			if got := strings.Join(w.lines(), " "); got != tt.said {
				t.Errorf("scripts said %q, want %q", got, tt.said)
			}
			if state := cmp.Or(w.protection().State, dr.StateProtected); state != tt.protection {
				t.Errorf("the group is %s, want %s", state, tt.protection)
			}
			if left, err := filepath.Glob(w.dir + "/run/action-*"); err != nil || len(left) > 0 {
				t.Errorf("left: %v (%v)", left, err)
			}
		})
	}
}

// TestPlanAsks lets people decide, across restarts of the controller.
func TestPlanAsks(t *testing.T) {
	w := newPlanWorld(t)
	defer func() { w.close() }()
	w.apply(`before:
  - {name: go, approval: {message: "Move ${run.group} to ${run.target}?"}}
after:
  - {name: shaky, script: {text: 'echo try-$UNDERSTUDY_ATTEMPT >> SAID; test -e SAID.ok'}, onError: ask}
  - {name: hopeless, script: {text: 'echo hopeless >> SAID; exit 1'}, onError: ask}
`)
	run := w.begin(recovery.KindFailover)
	q := w.asked(run.ID)
	if q.Message != "Move shop to west?" || !slices.Equal(q.Answers, []string{"approve", "reject"}) || !strings.Contains(q.Text(), "understudy run approve "+run.ID) {
		t.Errorf("%+v", q)
	}
	if _, err := w.rec.Answer(t.Context(), run.ID, recovery.Answer{Answer: recovery.AnswerRetry}); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("retry of an approval: %v", err)
	}
	w.close()
	w.start()
	if again := w.asked(run.ID); !again.Asked.Equal(q.Asked) {
		t.Errorf("asked again at %s, first at %s", again.Asked, q.Asked)
	}
	w.answer(run.ID, recovery.AnswerApprove, "as agreed")

	if q = w.asked(run.ID); q.Action != "shaky" || !strings.Contains(q.Message, "exit status 1") {
		t.Errorf("%+v", q)
	}
	must(t, os.WriteFile(w.said+".ok", nil, 0o600))
	w.answer(run.ID, recovery.AnswerRetry, "")
	if q = w.asked(run.ID); q.Action != "hopeless" {
		t.Errorf("%+v", q)
	}
	if _, err := w.rec.Answer(t.Context(), run.ID, recovery.Answer{Answer: recovery.AnswerSkip}); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("skipped without a reason: %v", err)
	}
	// An answer that is given while no controller looks counts when the next one does.
	w.close()
	_, err := w.store.Answer(t.Context(), run.ID, q.Topic, func(q *store.Question) error { q.Answer, q.Note, q.By = "skip", "not needed", "bob"; return nil })
	must(t, err)
	w.start()
	res := result(t, w.wait(run.ID, store.RunSucceeded))
	if got, want := outcomes(res), "go=done shaky=done hopeless=skipped"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if a := res.Actions[0]; a.By != "ann" || a.Note != "as agreed" {
		t.Errorf("%+v", a)
	}
	if a := res.Actions[2]; a.By != "bob" || a.Note != "not needed" {
		t.Errorf("%+v", a)
	}
	if got, want := strings.Join(w.lines(), " "), "try-1 try-2 hopeless"; got != want {
		t.Errorf("scripts said %q, want %q", got, want)
	}
	if _, err := w.rec.Answer(t.Context(), run.ID, recovery.Answer{Answer: recovery.AnswerRetry}); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("answer to a run that ended: %v", err)
	}
	events, err := w.store.Events(t.Context(), store.EventFilter{Run: run.ID})
	must(t, err)
	var kinds []string
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	for _, want := range []string{"run.waiting", "run.approved", "run.action-failed", "run.retried"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("no event %s in %v", want, kinds)
		}
	}
}

func TestPlanRejectAndCancel(t *testing.T) {
	w := newPlanWorld(t)
	defer w.close()
	w.apply("before: [{name: go, approval: {}, onError: ask}]\n")
	run := w.begin(recovery.KindPlanned)
	w.asked(run.ID)
	w.answer(run.ID, recovery.AnswerReject, "too early")
	ended := w.wait(run.ID, store.RunFailed)
	if !strings.Contains(ended.Error, "rejected by ann: too early") || w.protection().State != dr.StateProtected {
		t.Errorf("%s, group %s", ended.Error, w.protection().State)
	}
	run = w.begin(recovery.KindTest)
	w.asked(run.ID)
	must(t, w.rec.Cancel(t.Context(), run.ID, "not now"))
	w.wait(run.ID, store.RunCancelled)
	if _, open, err := w.store.OpenQuestion(t.Context(), run.ID); open || err != nil {
		t.Errorf("still asked: %v", err)
	}
	w.nothingLeft()

	// What a crash left of a script goes when its run is over.
	left := filepath.Join(w.dir, "run", "action-"+action.Key(run.ID, "go"))
	must(t, os.Mkdir(left, 0o700))
	must(t, w.rec.Tidy(t.Context()))
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left (%v)", left, err)
	}

	// After the machines moved, what is left of the plan can be given up: the group stays where it is.
	w.apply("after: [{name: sign, approval: {}}]\n")
	run = w.begin(recovery.KindFailover)
	w.asked(run.ID)
	until(t, func() bool { return w.west.Calls(fake.OpHydrate) >= 3 }) // nobody waits for the vault meanwhile
	must(t, w.rec.Cancel(t.Context(), run.ID, "signed on paper"))
	w.wait(run.ID, store.RunCancelled)
	if p := w.protection(); p.State != dr.StateFailedOver || power(t, w.west)["web"] != dr.PowerOn {
		t.Errorf("group %s", p.State)
	}
	// The machines do not need the vault, as after any other failover.
	if rows, err := w.store.Exports(t.Context(), run.ID); err != nil || len(rows) > 0 {
		t.Errorf("still served: %v, %v", rows, err)
	}
	w.run(recovery.KindCommit, store.RunSucceeded)
}

// TestPlanChanges refuses plans that fit their group no longer, and tells new versions from new texts.
func TestPlanChanges(t *testing.T) {
	w := newPlanWorld(t)
	defer w.close()
	ctx := t.Context()
	put := func(text string) (store.Plan, bool) {
		p, changed, _, err := w.rec.ApplyPlan(ctx, "p.yaml", []byte(text), "tester")
		must(t, err)
		return p, changed
	}
	head := "name: p\ngroup: shop\n"
	if p, changed := put(head + stages); !changed || p.Version != 1 || !p.NeedsVerification() {
		t.Errorf("%+v", p)
	}
	if p, changed := put("# a comment\ndescription: better\n" + head + stages); changed || p.Version != 1 {
		t.Errorf("%+v", p)
	}
	verify := func() store.Plan {
		w.wait(w.begin(recovery.KindTest).ID, store.RunSucceeded)
		if p, err := w.store.Plan(ctx, "p"); err != nil || !p.NeedsVerification() {
			t.Errorf("verified before it was cleaned up: %+v, %v", p, err)
		}
		w.run(recovery.KindCleanup, store.RunSucceeded)
		p, err := w.store.Plan(ctx, "p")
		must(t, err)
		return p
	}
	if p := verify(); p.NeedsVerification() || p.VerifiedRun == "" || p.VerifiedAt.IsZero() {
		t.Errorf("%+v", p)
	}
	if p, changed := put(head + stages + "after: [{name: a, wait: 1ms}]\n"); !changed || p.Version != 2 || !p.NeedsVerification() || p.Verified != 1 {
		t.Errorf("%+v", p)
	}
	if p := verify(); p.NeedsVerification() || p.Verified != 2 {
		t.Errorf("%+v", p)
	}
	versions, runs, err := w.rec.PlanHistory(ctx, "p", 10)
	if err != nil || len(versions) != 2 || versions[1].Version != 1 || !strings.HasPrefix(versions[1].Text, "# a comment") || len(runs) != 2 {
		t.Errorf("%+v %+v %v", versions, runs, err)
	}
	// A rehearsal in which somebody skipped an action proves less than the plan.
	put(head + stages + "after: [{name: a, script: {argv: ['false']}, onError: ask}]\n")
	run := w.begin(recovery.KindTest)
	w.asked(run.ID)
	w.answer(run.ID, recovery.AnswerSkip, "broken")
	w.wait(run.ID, store.RunSucceeded)
	w.run(recovery.KindCleanup, store.RunSucceeded)
	if p, err := w.store.Plan(ctx, "p"); err != nil || !p.NeedsVerification() {
		t.Errorf("%+v, %v", p, err)
	}

	for name, text := range map[string]string{
		"machine left out": head + "stages: [{name: one, machines: [db, web]}]\n", "no such group": "name: p\ngroup: mail\n" + stages,
	} {
		if _, _, _, err := w.rec.ApplyPlan(ctx, "p.yaml", []byte(text), ""); err == nil || dr.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A machine that leaves the group takes the plan's ground away.
	must(t, w.store.ChangeGroup(ctx, "shop", func(g *dr.Group) error { g.Machines = g.Machines[:2]; return nil }))
	if _, err := w.rec.StartPlan(ctx, recovery.Request{Kind: recovery.KindTest, Plan: "p"}); dr.KindOf(err) != dr.KindConflict || !strings.Contains(err.Error(), "web") {
		t.Errorf("%v", err)
	}
	if _, err := w.rec.StartPlan(ctx, recovery.Request{Kind: recovery.KindTest, Plan: "p", Group: "mail"}); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("%v", err)
	}
	must(t, w.rec.DeletePlan(ctx, "p", "tester"))
	if _, err := w.rec.StartPlan(ctx, recovery.Request{Kind: recovery.KindTest, Plan: "p"}); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("%v", err)
	}
}
