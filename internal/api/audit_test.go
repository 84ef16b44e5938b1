package api

import (
	"bufio"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/access"
	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

func (w *world) audit(query string) []wire.AuditEntry {
	w.t.Helper()
	var list []wire.AuditEntry
	wantStatus(w.t, w.ask(http.DefaultClient, "GET", "/v1/audit"+query, nil, &list, "Authorization", "Bearer "+w.file(controller.TokenFile)), 200)
	return list
}

func (w *world) verify(query string) wire.AuditVerification {
	w.t.Helper()
	var v wire.AuditVerification
	wantStatus(w.t, w.ask(http.DefaultClient, "GET", "/v1/audit/verify"+query, nil, &v, "Authorization", "Bearer "+w.file(controller.TokenFile)), 200)
	return v
}

// What was changed and what was refused is recorded, with who asked and how that was known.
func TestAuditLog(t *testing.T) {
	w := newWorld(t, Options{})
	b := w.boot()
	wantStatus(t, w.ask(b, "PUT", "/v1/users/bob", wire.UserChange{Grants: []wire.RoleGrant{{Role: "viewer", Scope: "*"}}, Password: goodPassword}, nil), 200)
	bob := w.browser()
	wantStatus(t, w.ask(bob, "POST", "/v1/session", wire.Login{User: "bob", Password: "a wrong password"}, nil), 403)
	wantStatus(t, w.ask(bob, "POST", "/v1/session", wire.Login{User: "bob", Password: goodPassword}, nil), 200)
	wantStatus(t, w.ask(bob, "DELETE", "/v1/groups/shop", nil, nil), 403)
	wantStatus(t, w.ask(bob, "GET", "/v1/users", nil, nil), 403)
	wantStatus(t, w.ask(bob, "GET", "/v1/groups", nil, nil), 200) // looking is not recorded
	wantStatus(t, w.ask(b, "DELETE", "/v1/groups/shop", nil, nil), 404)
	wantStatus(t, w.ask(http.DefaultClient, "DELETE", "/v1/groups/shop", nil, nil), 401)

	var got []string
	for _, e := range w.audit("") {
		got = append(got, strings.Join([]string{e.Actor, e.Method, e.Operation, e.Object, e.Result}, " "))
		if e.Sequence == 0 || len(e.Hash) != 64 || e.Address != "127.0.0.1" || e.Time.IsZero() || e.Status == 0 {
			t.Errorf("%+v", e)
		}
	}
	want := []string{
		"  unprotect group:shop refused", "ann password unprotect group:shop refused", "bob password list-users users refused",
		"bob password unprotect group:shop refused", "bob password log-in session done", "bob  log-in session refused",
		"ann password put-user users/bob done", "ann password bootstrap bootstrap done",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// A page after a page, and by what it is about.
	first := w.audit("?limit=3")
	rest := w.audit("?limit=3&after=" + itoa(first[2].Sequence))
	if len(first) != 3 || len(rest) != 3 || rest[0].Operation != "unprotect" || rest[0].Actor != "bob" {
		t.Errorf("%+v %+v", first, rest)
	}
	for query, n := range map[string]int{"?actor=bob": 4, "?object=group:shop": 3, "?verb=manage-access": 2, "?result=done": 3,
		"?since=2027-01-01T00:00:00Z": 0, "?until=2027-01-01T00:00:00Z&since=2025-01-01T00:00:00Z": 8, "?every=true": 10} {
		if list := w.audit(query); len(list) != n {
			t.Errorf("%s: %d entries, want %d", query, len(list), n)
		}
	}
	if v := w.verify(""); !v.Intact || v.Entries != 10 || v.Head == "" {
		t.Errorf("%+v", v)
	}
	w.checkExport()
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// checkExport: each line can be checked with nothing but a hash function.
func (w *world) checkExport() {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "GET", w.url+"/v1/audit/export", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.file(controller.TokenFile))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	lines, previous := bufio.NewScanner(resp.Body), ""
	n := 0
	for ; lines.Scan(); n++ {
		var line struct {
			Hash  string
			Entry json.RawMessage
		}
		var e access.Entry
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			w.t.Fatal(err)
		}
		if err := json.Unmarshal(line.Entry, &e); err != nil {
			w.t.Fatal(err)
		}
		if sum := sha256.Sum256(line.Entry); hex.EncodeToString(sum[:]) != line.Hash || e.Previous != previous {
			w.t.Errorf("line %d: %s", n, lines.Text())
		}
		previous = line.Hash
	}
	if n != 10 {
		w.t.Errorf("%d lines", n)
	}
}

// What a person with the state file can do to the log is found, or is documented not to be.
func TestAuditTampering(t *testing.T) {
	edit := func(w *world, statements ...string) {
		w.t.Helper()
		db, err := sql.Open("sqlite", filepath.Join(w.dir, "state.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, s := range append([]string{"DROP TRIGGER IF EXISTS audit_keep", "DROP TRIGGER IF EXISTS audit_leave"}, statements...) {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	for _, tt := range []struct{ name, statement, finding string }{
		{"edited", `UPDATE audit SET doc = replace(doc, '"ann"', '"eve"') WHERE sequence = 3`, "entry 3 was changed"},
		{"edited with its hash", `UPDATE audit SET doc = replace(doc, '"ann"', '"eve"'), hash = printf('%064d', 1) WHERE sequence = 3`, "entry 4 does not follow the one before"},
		{"removed", "DELETE FROM audit WHERE sequence = 3", "entry 3 is missing"},
		{"removed from the beginning", "DELETE FROM audit WHERE sequence <= 2", "entries 1 to 2 are missing"},
		{"removed from the end", "DELETE FROM audit WHERE sequence > 3", "the end was removed"},
		{"all removed", "DELETE FROM audit", "the end was removed"},
		{"exchanged", "UPDATE audit SET sequence = CASE sequence WHEN 2 THEN -3 ELSE -2 END WHERE sequence IN (2, 3); UPDATE audit SET sequence = -sequence WHERE sequence < 0", "says that it is entry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			b := w.boot()
			for range 3 {
				wantStatus(t, w.ask(b, "DELETE", "/v1/groups/shop", nil, nil), 404)
			}
			if v := w.verify(""); !v.Intact || v.Entries != 7 {
				t.Fatalf("%+v", v)
			}
			edit(w, tt.statement)
			if v := w.verify(""); v.Intact || !strings.Contains(strings.Join(v.Findings, "\n"), tt.finding) {
				t.Errorf("%+v", v)
			}
			// It is found without the controller, too, and not forgotten by one that begins and adds more.
			w.stop()
			head, err := controller.ReadAuditHead(w.dir)
			if err != nil {
				t.Fatal(err)
			}
			v, err := store.VerifyAuditFile(t.Context(), filepath.Join(w.dir, "state.db"), []access.Head{*head})
			if err != nil || v.Intact() {
				t.Errorf("%+v %v", v, err)
			}
			w.open(Options{})
			wantStatus(t, w.ask(b, "DELETE", "/v1/groups/shop", nil, nil), 404)
			if v := w.verify(""); v.Intact {
				t.Errorf("after a start: %+v", v)
			}
		})
	}
	t.Run("all written anew, with the head file", func(t *testing.T) {
		w := newWorld(t, Options{})
		b := w.boot()
		noted := w.verify("").Head
		wantStatus(t, w.ask(b, "DELETE", "/v1/groups/shop", nil, nil), 404)
		w.stop()
		edit(w, "DELETE FROM audit")
		if err := os.Remove(filepath.Join(w.dir, controller.AuditHeadFile)); err != nil {
			t.Fatal(err)
		}
		w.open(Options{})
		wantStatus(t, w.ask(b, "DELETE", "/v1/groups/shop", nil, nil), 404)
		if v := w.verify(""); !v.Intact {
			t.Errorf("this cannot be found from the folder alone: %+v", v)
		}
		if v := w.verify("?expect=" + noted); v.Intact {
			t.Errorf("with the head that was noted: %+v", v)
		}
	})
	t.Run("the program itself cannot", func(t *testing.T) {
		w := newWorld(t, Options{})
		w.boot()
		db, err := sql.Open("sqlite", filepath.Join(w.dir, "state.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, s := range []string{"DELETE FROM audit", "UPDATE audit SET doc = '{}'"} {
			if _, err := db.ExecContext(t.Context(), s); err == nil || !strings.Contains(err.Error(), "only added to") {
				t.Errorf("%s: %v", s, err)
			}
		}
	})
}

// Callers who are not known cannot fill the disk.
func TestUnknownCallersWriteLittle(t *testing.T) {
	w := newWorld(t, Options{})
	for range 100 {
		wantStatus(t, w.ask(http.DefaultClient, "DELETE", "/v1/groups/shop", nil, nil), 401)
	}
	if n := len(w.audit("?limit=1000")); n != 60 {
		t.Errorf("%d entries", n)
	}
	w.pass(time.Second)
	w.ask(http.DefaultClient, "DELETE", "/v1/groups/shop", nil, nil)
	if e := w.audit("?limit=1")[0]; !strings.Contains(e.Detail, "40 more") {
		t.Errorf("%+v", e)
	}
}

// fourEyed is a world with two administrators and a group.
func fourEyed(t *testing.T) (w *world, ann, bob *http.Client) {
	t.Helper()
	w = newWorld(t, Options{})
	ann, bob = w.boot(), w.browser()
	all := []wire.RoleGrant{{Role: "admin", Scope: "*"}}
	wantStatus(t, w.ask(ann, "PUT", "/v1/users/bob", wire.UserChange{Grants: all, Password: goodPassword}, nil), 200)
	wantStatus(t, w.ask(bob, "POST", "/v1/session", wire.Login{User: "bob", Password: goodPassword}, nil), 200)
	for _, name := range []string{"east", "west"} {
		wantStatus(t, w.ask(ann, "POST", "/v1/sites", wire.Site{Name: name, Provider: "fake"}, nil), 200)
	}
	w.machine("east", "db")
	wantStatus(t, w.ask(ann, "POST", "/v1/vaults", wire.Vault{Name: "main", URL: "file://" + t.TempDir() + "/v"}, nil), 200)
	wantStatus(t, w.ask(ann, "PUT", "/v1/policies", wire.Policy{Name: "gold", RPO: wire.Duration(time.Minute), Keep: "all for 1h, 1d for 30d"}, nil), 200)
	wantStatus(t, w.ask(ann, "POST", "/v1/groups", wire.Group{Name: "shop", Site: "east", Target: "west", Vault: "main", Policy: "gold", Machines: []wire.GroupMachine{{Name: "db"}}}, nil), 200)
	w.reopen(Options{FourEyes: true})
	return w, ann, bob
}

// wanted is the approval that a request is answered with.
func (w *world) wanted(c *http.Client, method, path string, in any) string {
	w.t.Helper()
	var p wire.Problem
	wantStatus(w.t, w.ask(c, method, path, in, &p), 202)
	if p.Kind != "approval-wanted" || p.Approval == "" || !strings.Contains(p.Hint, p.Approval) {
		w.t.Fatalf("%+v", p)
	}
	return p.Approval
}

func TestFourEyes(t *testing.T) {
	w, ann, bob := fourEyed(t)
	id := w.wanted(ann, "DELETE", "/v1/sites/west", nil)
	if again := w.wanted(ann, "DELETE", "/v1/sites/west", nil); again != id {
		t.Errorf("asked twice: %s, %s", id, again)
	}
	var list []wire.Approval
	w.ask(bob, "GET", "/v1/approvals", nil, &list)
	if len(list) != 1 || list[0].ID != id || list[0].Mine || list[0].By != "ann" || list[0].State != "wanted" {
		t.Errorf("%+v", list)
	}
	// Not by oneself, not by a token of one's own, and not by someone who may not.
	approve := "/v1/approvals/" + id + "/approve"
	wantStatus(t, w.ask(ann, "POST", approve, wire.Decision{}, nil), 403)
	wantStatus(t, w.ask(bob, "POST", approve, wire.Decision{Note: "ok"}, nil), 200)
	wantStatus(t, w.ask(bob, "POST", approve, wire.Decision{}, nil), 409)
	// Another request, and the same one of another person, are not what was approved.
	w.wanted(ann, "DELETE", "/v1/sites/east", nil)
	w.wanted(bob, "DELETE", "/v1/sites/west", nil)
	// It passes; that it is against the state of things does not use it up.
	wantStatus(t, w.ask(ann, "DELETE", "/v1/sites/west", nil, nil), 409)
	wantStatus(t, w.ask(ann, "DELETE", "/v1/sites/west", nil, nil), 409)

	gid := w.wanted(ann, "DELETE", "/v1/groups/shop", nil)
	wantStatus(t, w.ask(bob, "POST", "/v1/approvals/"+gid+"/approve", wire.Decision{}, nil), 200)
	wantStatus(t, w.ask(ann, "DELETE", "/v1/groups/shop", nil, nil), 204)
	wantStatus(t, w.ask(ann, "DELETE", "/v1/sites/west", nil, nil), 204) // with the approval that was given back
	w.wanted(ann, "DELETE", "/v1/groups/shop", nil)                      // once

	// The record has it all.
	var results []string
	for _, e := range w.audit("?object=group:shop&actor=ann") {
		results = append(results, e.Operation+" "+e.Result)
	}
	if got := strings.Join(results, ", "); got != "unprotect waits, unprotect done, unprotect waits, protect done" {
		t.Error(got)
	}
	wantStatus(t, w.ask(bob, "POST", "/v1/approvals/a-none/approve", wire.Decision{}, nil), 404)
}

// What is covered, and what is not.
func TestFourEyesCovers(t *testing.T) {
	w, ann, bob := fourEyed(t)
	w.wanted(ann, "PUT", "/v1/policies", wire.Policy{Name: "gold", RPO: wire.Duration(time.Minute), Keep: "all for 1h, 1d for 7d"})
	wantStatus(t, w.ask(ann, "PUT", "/v1/policies", wire.Policy{Name: "gold", RPO: wire.Duration(time.Minute), Keep: "all for 2h, 1d for 60d"}, nil), 200)
	wantStatus(t, w.ask(ann, "PUT", "/v1/policies", wire.Policy{Name: "thin", RPO: wire.Duration(time.Minute), Keep: "all for 1h"}, nil), 200)
	shop := wire.Group{Name: "shop", Site: "east", Target: "west", Vault: "main", Policy: "thin", Machines: []wire.GroupMachine{{Name: "db"}}}
	w.wanted(ann, "POST", "/v1/groups", shop)
	w.wanted(ann, "DELETE", "/v1/vaults/main", nil)
	w.wanted(ann, "DELETE", "/v1/groups/shop/point-names/x", nil)
	w.wanted(ann, "PUT", "/v1/users/eve", wire.UserChange{Grants: []wire.RoleGrant{{Role: "failover-approver", Scope: "*"}}})
	w.wanted(ann, "PUT", "/v1/users/bob/password", wire.PasswordChange{Password: "another password"})
	w.wanted(ann, "POST", "/v1/tokens", wire.TokenRequest{Name: "t", Grants: []wire.RoleGrant{{Role: "admin", Scope: "*"}}})
	w.wanted(ann, "POST", "/v1/groups/shop/failover", wire.Failover{Kind: "planned"})
	w.wanted(ann, "POST", "/v1/groups/shop/failover", wire.Failover{Kind: "unplanned"})
	// A rehearsal harms nothing, and when the source does not answer nobody should have to wait.
	if s := w.ask(ann, "POST", "/v1/groups/shop/failover", wire.Failover{Kind: "test"}, nil).StatusCode; s == 202 || s == 403 {
		t.Logf("test failover: %d", s)
	}
	for range 2 {
		w.site("east").FailNext(fake.OpMachines, dr.WithHint(os.ErrDeadlineExceeded, dr.KindUnavailable, ""))
	}
	var p wire.Problem
	w.ask(ann, "POST", "/v1/groups/shop/failover", wire.Failover{Kind: "unplanned"}, &p)
	if p.Kind == "approval-wanted" {
		t.Errorf("the source does not answer: %+v", p)
	}
	_ = bob
}

// Who approves reads what is decided, and no secret.
func TestFourEyesTells(t *testing.T) {
	w, ann, _ := fourEyed(t)
	w.wanted(ann, "PUT", "/v1/policies", wire.Policy{Name: "gold", RPO: wire.Duration(time.Minute), Keep: "all for 1h"})
	wantStatus(t, w.ask(ann, "PUT", "/v1/policies", wire.Policy{Name: "thin", RPO: wire.Duration(time.Minute), Keep: "all for 30m"}, nil), 200)
	w.wanted(ann, "POST", "/v1/groups", wire.Group{Name: "shop", Site: "east", Target: "west", Vault: "main", Policy: "thin", Machines: []wire.GroupMachine{{Name: "db"}}})
	w.wanted(ann, "PUT", "/v1/users/eve", wire.UserChange{Grants: []wire.RoleGrant{{Role: "viewer", Scope: "site:east"}, {Role: "admin", Scope: "*"}}, Password: "a password of eve"})
	w.wanted(ann, "PUT", "/v1/users/bob", wire.UserChange{Grants: []wire.RoleGrant{}})
	w.wanted(ann, "POST", "/v1/tokens", wire.TokenRequest{Name: "t", TTL: wire.Duration(time.Hour), Grants: []wire.RoleGrant{{Role: "operator", Scope: "group:shop"}}})
	wantStatus(t, w.ask(ann, "PUT", "/v1/users/eve", wire.UserChange{Grants: []wire.RoleGrant{{Role: "viewer", Scope: "all of it"}}}, nil), 422)
	var list []wire.Approval
	w.ask(ann, "GET", "/v1/approvals", nil, &list)
	var got []string
	for _, a := range list {
		got = append(got, a.About)
	}
	want := []string{
		"add user eve with admin on everything, viewer on site:east, and set the password",
		"change user bob from admin on everything to no role",
		`keep recovery points for less time, by policy gold: from "all for 1h, 1d for 30d" to "all for 1h"`,
		`keep the recovery points of group shop for less time, by policy thin in place of gold: from "all for 1h, 1d for 30d" to "all for 30m"`,
		"make token t for 1h with operator on group:shop",
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Approvals and what becomes of them do not depend on the controller that they were given to. Whatever is killed, a request
// passes once at most.
func TestFourEyesThroughDeath(t *testing.T) {
	w, ann, bob := fourEyed(t)
	on := Options{FourEyes: true}
	id := w.wanted(ann, "DELETE", "/v1/groups/shop", nil)
	w.reopen(on)
	wantStatus(t, w.ask(bob, "POST", "/v1/approvals/"+id+"/approve", wire.Decision{}, nil), 200)
	w.reopen(on)
	// A controller dies between using the approval up and doing what was asked.
	a, err := w.c.Approval(t.Context(), id)
	if err != nil || a.State != store.ApprovalApproved {
		t.Fatalf("%+v %v", a, err)
	}
	if a, err = w.c.AskApproval(t.Context(), a); err != nil || a.State != store.ApprovalUsed {
		t.Fatalf("%+v %v", a, err)
	}
	w.reopen(on)
	if again := w.wanted(ann, "DELETE", "/v1/groups/shop", nil); again == id {
		t.Error("an approval was used twice")
	}
	// Both have their time.
	late := w.wanted(ann, "DELETE", "/v1/groups/shop", nil)
	w.pass(store.ApprovalWait)
	login := func(c *http.Client, user string) {
		wantStatus(t, w.ask(c, "POST", "/v1/session", wire.Login{User: user, Password: goodPassword}, nil), 200)
	}
	login(ann, "ann")
	login(bob, "bob")
	wantStatus(t, w.ask(bob, "POST", "/v1/approvals/"+late+"/approve", wire.Decision{}, nil), 409)
	next := w.wanted(ann, "DELETE", "/v1/groups/shop", nil)
	wantStatus(t, w.ask(bob, "POST", "/v1/approvals/"+next+"/approve", wire.Decision{}, nil), 200)
	w.pass(store.ApprovalUse)
	other := w.wanted(ann, "DELETE", "/v1/groups/shop", nil)
	wantStatus(t, w.ask(bob, "POST", "/v1/approvals/"+other+"/reject", wire.Decision{Note: "no"}, nil), 200)
	if w.wanted(ann, "DELETE", "/v1/groups/shop", nil) == other {
		t.Error("what was rejected is asked for anew")
	}
}

// Requests at the same time do not share an approval.
func TestFourEyesRace(t *testing.T) {
	w, ann, bob := fourEyed(t)
	q := wire.UserChange{Grants: []wire.RoleGrant{}}
	id := w.wanted(ann, "PUT", "/v1/users/eve", q)
	wantStatus(t, w.ask(bob, "POST", "/v1/approvals/"+id+"/approve", wire.Decision{}, nil), 200)
	statuses := make([]int, 6)
	var group sync.WaitGroup
	for i := range statuses {
		group.Go(func() { statuses[i] = w.ask(ann, "PUT", "/v1/users/eve", q, nil).StatusCode })
	}
	group.Wait()
	passed := 0
	for _, s := range statuses {
		if s == 200 {
			passed++
		} else if s != 202 {
			t.Errorf("status %d", s)
		}
	}
	if passed != 1 {
		t.Errorf("%v", statuses)
	}
}
