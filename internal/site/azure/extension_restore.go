package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// A restoration of one extension of one machine.
type restoration struct {
	s *Site
	site.RestoreExtension
	id    string // of the machine
	rules []dr.Association
}

// RestoreExtension implements site.Extender.
func (s *Site) RestoreExtension(ctx context.Context, q site.RestoreExtension) (dr.ExtensionResult, error) {
	defer s.alone(q.Machine + "/extensions")()
	r := &restoration{s: s, RestoreExtension: q, id: s.compute("virtualMachines", q.Machine)}
	e, err := r.ready(ctx)
	if err != nil {
		return dr.ExtensionResult{}, err
	}
	if r.rules, err = r.counterparts(ctx); err != nil {
		return dr.ExtensionResult{}, err
	}
	if q.Rehearsal {
		_, err := body(q.Extension, e.vm.Location, q.Secret)
		return dr.ExtensionResult{Outcome: dr.ExtensionReady, Reason: "the machine's agent answers" + r.ruleText()}, err
	}
	return r.restore(ctx, e)
}

// agentTime is how long the agent of a machine may take after its start.
const agentTime = 5 * time.Minute

// ready waits until the machine runs and its agent answers.
func (r *restoration) ready(ctx context.Context) (e equipped, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, agentTime, fmt.Errorf("its agent did not answer in %s", agentTime))
	defer cancel()
	for {
		if e, err = r.s.equipped(ctx, r.Machine); err != nil {
			return e, err
		}
		view := e.vm.Properties.InstanceView
		switch p := view.power(); {
		case p == "running" && len(view.VMAgent.Statuses) > 0 && view.VMAgent.Statuses[0].Code == "ProvisioningState/succeeded":
			return e, nil
		case p != "running" && p != "starting":
			return e, dr.WithHint(fmt.Errorf("machine %s is %s: extensions change only while it runs", r.Machine, p), dr.KindConflict, "start it first")
		}
		if err := pause(ctx, r.s.cfg.Poll); err != nil {
			return e, dr.WithHint(err, dr.KindUnavailable, "see the machine's serial console")
		}
	}
}

// counterparts are the associations as they are to be here. A rule without a mapping stays as it is: rules are of the
// region of their workspace, not of the machine's.
func (r *restoration) counterparts(ctx context.Context) ([]dr.Association, error) {
	var out []dr.Association
	if !monitors(r.Extension) {
		return nil, nil
	}
	for _, a := range r.Extension.Associations {
		id, endpoint := strings.CutPrefix(a.Rule, endpointRule)
		for _, name := range []string{id, lastName(id)} {
			if ours, ok := r.s.cfg.Rules[name]; ok {
				id = ours
				break
			}
		}
		if !strings.HasPrefix(id, "/") {
			kind := "dataCollectionRules"
			if endpoint {
				kind = "dataCollectionEndpoints"
			}
			id = r.s.group() + "/providers/Microsoft.Insights/" + kind + "/" + id
		}
		if err := r.s.rest.get(ctx, id, nil, &struct{}{}); err != nil {
			if is(err, http.StatusNotFound) {
				return nil, dr.WithHint(fmt.Errorf("data collection rule %s has no counterpart: %s does not exist", lastName(a.Rule), id), dr.KindInvalid,
					fmt.Sprintf("say which takes its place: --set dcr.%s=NAME-OR-ID", lastName(a.Rule)))
			}
			return nil, explain(err)
		}
		if endpoint {
			id = endpointRule + id
		}
		out = append(out, dr.Association{Name: a.Name, Rule: id})
	}
	return out, nil
}

func (r *restoration) ruleText() string {
	var names []string
	for _, a := range r.rules {
		if !strings.HasPrefix(a.Rule, endpointRule) {
			names = append(names, lastName(a.Rule))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", rule " + strings.Join(names, ", ")
}

// restore heals what is not healthy.
func (r *restoration) restore(ctx context.Context, e equipped) (res dr.ExtensionResult, err error) {
	now := r.find(e)
	var missing []dr.Association
	for _, a := range r.rules {
		if !slices.ContainsFunc(e.associations, func(b dr.Association) bool { return b.Name == a.Name && strings.EqualFold(b.Rule, a.Rule) }) {
			missing = append(missing, a)
		}
	}
	if now != nil && now.Status == dr.ExtensionHealthy && len(missing) == 0 {
		return dr.ExtensionResult{Outcome: dr.ExtensionAlreadyHealthy, Heartbeat: now.Heartbeat}, nil
	}
	ailing := "it is not installed"
	if now != nil {
		ailing = now.Message
	}
	if err := r.identity(ctx, e); err != nil {
		return res, err
	}
	// One that works and only lacks a rule is not installed anew.
	works := now != nil && (now.Status == dr.ExtensionHealthy || strings.Contains(now.Message, "no data collection rule"))
	if !works {
		if now != nil {
			r.Say("%s; removing it", ailing)
			if err := r.remove(ctx); err != nil {
				return res, err
			}
		}
		r.Say("installing it")
		if err := r.install(ctx, e.vm.Location); err != nil {
			return res, err
		}
	}
	for _, a := range missing {
		r.Say("associating it with %s", lastName(a.Rule))
		if err := r.associate(ctx, a); err != nil {
			return res, err
		}
	}
	res.Outcome, res.Reason = dr.ExtensionRestored, strings.TrimPrefix(strings.Join([]string{ailing, "installed again" + r.ruleText()}, "; "), "; ")
	if works {
		res.Reason = "associated again" + r.ruleText()
	}
	res.Heartbeat, err = r.alive(ctx, e.heartbeat)
	if err == nil && monitors(r.Extension) && !e.told {
		res.Reason += "; its handler says ready: no workspace is configured to look for heartbeats"
	}
	return res, err
}

// find is the extension as it is now, also one that only the disk brought along.
func (r *restoration) find(e equipped) *dr.Extension {
	for _, x := range e.extensions {
		if strings.EqualFold(x.Name, r.Extension.Name) {
			d := r.s.judge(e, x.describe())
			return &d
		}
	}
	for _, h := range e.vm.Properties.InstanceView.VMAgent.ExtensionHandlers {
		if h.Type == r.Extension.Publisher+"."+r.Extension.Settings[settingType] {
			return &dr.Extension{Name: r.Extension.Name, Status: dr.ExtensionUnresponsive, Message: h.Status.Message}
		}
	}
	return nil
}

// identity gives the machine the identity that it had: without one the monitoring agent cannot log in.
func (r *restoration) identity(ctx context.Context, e equipped) error {
	want := r.Attributes[attrIdentity]
	if want == "" && monitors(r.Extension) {
		want = "SystemAssigned"
	}
	if want == "" || e.vm.Identity.Type != "" && e.vm.Identity.Type != "None" {
		return nil
	}
	r.Say("giving the machine an identity")
	return explain(r.s.rest.run(ctx, call{http.MethodPatch, r.id, nil, map[string]any{"identity": identityBody(want)}}, nil))
}

// identityBody is an identity from how it is written in an attribute: SystemAssigned, or IDs with commas between.
func identityBody(text string) map[string]any {
	users := map[string]any{}
	kind := ""
	for part := range strings.SplitSeq(text, ",") {
		switch part = strings.TrimSpace(part); {
		case strings.HasPrefix(part, "/"):
			users[part] = map[string]any{}
		case part != "":
			kind = "SystemAssigned"
		}
	}
	switch {
	case len(users) == 0:
		return map[string]any{"type": kind}
	case kind != "":
		return map[string]any{"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": users}
	}
	return map[string]any{"type": "UserAssigned", "userAssignedIdentities": users}
}

func (r *restoration) path() string { return r.id + "/extensions/" + r.Extension.Name }

// remove deletes the extension, and returns when it and its handler are gone.
func (r *restoration) remove(ctx context.Context) error {
	if err := r.s.rest.run(ctx, call{http.MethodDelete, r.path(), nil, nil}, nil); err != nil && !is(err, http.StatusNotFound) {
		return fmt.Errorf("remove %s: %w", r.Extension.Name, explain(err))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, agentTime, fmt.Errorf("%s is still there %s after its removal", r.Extension.Name, agentTime))
	defer cancel()
	for {
		e, err := r.s.equipped(ctx, r.Machine)
		if err == nil && r.find(e) == nil {
			return nil
		}
		if err := pause(ctx, r.s.cfg.Poll); err != nil {
			return dr.WithHint(err, dr.KindUnavailable, "remove it by hand, and restore again")
		}
	}
}

// install makes the extension. One that is marked for deletion is deleted first: only that can be retried.
func (r *restoration) install(ctx context.Context, location string) error {
	b, err := body(r.Extension, location, r.Secret)
	if err != nil {
		return err
	}
	for try := range 2 {
		err = r.s.rest.run(ctx, call{http.MethodPut, r.path(), nil, b}, nil)
		if err == nil {
			return nil
		}
		if try > 0 || !strings.Contains(err.Error(), "marked for deletion") {
			break
		}
		if err := r.remove(ctx); err != nil {
			return err
		}
	}
	err = explain(err)
	if other := r.failed(ctx); other != "" {
		err = dr.WithHint(err, dr.KindOf(err), "extension "+other+" of the machine has failed and may be in the way: remove it first")
	}
	return fmt.Errorf("install %s: %w", r.Extension.Name, err)
}

// failed names another extension of the machine that has failed: Azure installs nothing beside it.
func (r *restoration) failed(ctx context.Context) string {
	var v vm
	if err := r.s.rest.get(ctx, r.id, url.Values{"$expand": {"instanceView"}}, &v); err != nil {
		return ""
	}
	for _, x := range v.Resources {
		if x.Properties.ProvisioningState == "Failed" && !strings.EqualFold(lastName(x.Name), r.Extension.Name) {
			return lastName(x.Name)
		}
	}
	return ""
}

func (r *restoration) associate(ctx context.Context, a dr.Association) error {
	properties := map[string]any{"dataCollectionRuleId": a.Rule}
	if id, ok := strings.CutPrefix(a.Rule, endpointRule); ok {
		properties = map[string]any{"dataCollectionEndpointId": id}
	}
	resp, err := r.s.rest.send(ctx, call{http.MethodPut, r.id + associationsPath + "/" + a.Name, nil, map[string]any{"properties": properties}})
	if err != nil {
		return fmt.Errorf("associate with %s: %w", lastName(a.Rule), explain(err))
	}
	return resp.Body.Close()
}

// aliveTime is how long the first heartbeat, or a handler's first report, may take.
const aliveTime = 15 * time.Minute

// alive waits until Azure hears from the extension: for a monitoring agent a heartbeat after the one that was known.
func (r *restoration) alive(ctx context.Context, last time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, aliveTime, fmt.Errorf("nothing was heard of it in %s", aliveTime))
	defer cancel()
	said := "nothing"
	for {
		e, err := r.s.equipped(ctx, r.Machine)
		if err == nil {
			now := r.find(e)
			if now != nil && now.Status == dr.ExtensionHealthy && (!monitors(r.Extension) || !e.told || e.heartbeat.After(last)) {
				return e.heartbeat, nil
			}
			if now != nil {
				said = string(now.Status) + " " + now.Message
			}
		}
		if e := pause(ctx, r.s.cfg.Poll); e != nil {
			return time.Time{}, dr.WithHint(errors.Join(fmt.Errorf("%w: it is %s", e, said), err), dr.KindUnavailable, "see the extension's log in the machine")
		}
	}
}
