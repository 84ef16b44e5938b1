package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"understudy/internal/dr"
)

// Settings of an extension that Azure knows and others carry along.
const (
	settingType    = "azure.type"
	settingMinor   = "azure.autoUpgradeMinorVersion"
	settingUpgrade = "azure.enableAutomaticUpgrade"
	settingJSON    = "azure.settings"
)

// endpointRule marks the association with a data collection endpoint, which is no rule.
const endpointRule = "endpoint:"

// Owns implements site.Extender.
func (s *Site) Owns(e dr.Extension) bool { return e.Settings[settingType] != "" }

// monitors reports whether an extension is the Azure Monitor agent, which needs an identity and rules to be alive.
func monitors(e dr.Extension) bool { return strings.HasPrefix(e.Settings[settingType], "AzureMonitor") }

// association ties a machine to a data collection rule or endpoint.
type association struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		Rule     string `json:"dataCollectionRuleId,omitempty"`
		Endpoint string `json:"dataCollectionEndpointId,omitempty"`
	} `json:"properties"`
}

const associationsPath = "/providers/Microsoft.Insights/dataCollectionRuleAssociations"

// equipped is what Azure holds about the extensions of a machine.
type equipped struct {
	vm           vm
	extensions   []vmExtension
	associations []dr.Association
	heartbeat    time.Time // the newest of its monitoring agent; zero for none
	told         bool      // heartbeats can be looked up
}

func (s *Site) equipped(ctx context.Context, machine string) (e equipped, err error) {
	id := s.compute("virtualMachines", machine)
	if err := s.rest.get(ctx, id, url.Values{"$expand": {"instanceView"}}, &e.vm); err != nil {
		return e, explain(err)
	}
	if e.extensions, err = list[vmExtension](ctx, s.rest, id+"/extensions", nil); err != nil {
		return e, explain(err)
	}
	var ties []association
	if s.can.monitoring {
		if ties, err = list[association](ctx, s.rest, id+associationsPath, nil); err != nil {
			return e, explain(err)
		}
	}
	for _, t := range ties {
		rule := t.Properties.Rule
		if t.Properties.Endpoint != "" {
			rule = endpointRule + t.Properties.Endpoint
		}
		e.associations = append(e.associations, dr.Association{Name: t.Name, Rule: rule})
	}
	if s.cfg.Workspace != "" {
		e.told = true
		e.heartbeat, err = s.heartbeat(ctx, e.vm.ID)
	}
	return e, err
}

// heartbeat is when the newest heartbeat of a machine arrived at the workspace.
func (s *Site) heartbeat(ctx context.Context, id string) (time.Time, error) {
	fail := func(err error) (time.Time, error) {
		return time.Time{}, fmt.Errorf("ask workspace %s for heartbeats: %w", s.cfg.Workspace, explain(err))
	}
	endpoint := s.cfg.LogEndpoint
	if endpoint == "" {
		endpoint = "https://api.loganalytics.io"
	}
	token, err := s.cfg.Credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{endpoint + "/.default"}})
	if err != nil {
		return fail(err)
	}
	query := fmt.Sprintf("Heartbeat | where _ResourceId =~ '%s' | summarize TimeGenerated = max(TimeGenerated) by _ResourceId", id)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/v1/workspaces/"+url.PathEscape(s.cfg.Workspace)+"/query?"+url.Values{"query": {query}}.Encode(), nil)
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	resp, err := s.http.Do(req)
	if err != nil {
		return fail(err)
	}
	if resp.StatusCode != http.StatusOK {
		return fail(runtime.NewResponseError(resp))
	}
	var answer struct {
		Tables []struct {
			Columns []struct {
				Name string `json:"name"`
			} `json:"columns"`
			Rows [][]any `json:"rows"`
		} `json:"tables"`
	}
	if err := runtime.UnmarshalAsJSON(resp, &answer); err != nil {
		return fail(err)
	}
	var newest time.Time
	for _, table := range answer.Tables {
		for i, c := range table.Columns {
			for _, row := range table.Rows {
				if c.Name != "TimeGenerated" || i >= len(row) {
					continue
				}
				if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(row[i])); err == nil && at.After(newest) {
					newest = at
				}
			}
		}
	}
	return newest, nil
}

// Extensions implements site.Extender.
func (s *Site) Extensions(ctx context.Context, machine string) ([]dr.Extension, error) {
	e, err := s.equipped(ctx, machine)
	if err != nil {
		return nil, fmt.Errorf("extensions of %s: %w", machine, err)
	}
	out := []dr.Extension{}
	for _, x := range e.extensions {
		out = append(out, s.judge(e, x.describe()))
	}
	// Handlers that a disk brought along, which Azure has no extension for.
	for _, h := range e.vm.Properties.InstanceView.VMAgent.ExtensionHandlers {
		if slices.ContainsFunc(out, func(x dr.Extension) bool { return x.Publisher+"."+x.Settings[settingType] == h.Type }) {
			continue
		}
		publisher, kind, _ := cutLast(h.Type, ".")
		out = append(out, s.judge(e, dr.Extension{Name: kind, Publisher: publisher, Version: h.TypeHandlerVersion, Settings: map[string]string{settingType: kind}}))
	}
	slices.SortFunc(out, func(a, b dr.Extension) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// describe is an extension without its health.
func (x vmExtension) describe() dr.Extension {
	p := x.Properties
	e := dr.Extension{Name: x.Name, Publisher: p.Publisher, Version: p.TypeHandlerVersion, Settings: map[string]string{settingType: p.Type}}
	for key, v := range map[string]*bool{settingMinor: p.AutoUpgradeMinorVersion, settingUpgrade: p.EnableAutomaticUpgrade} {
		if v != nil {
			e.Settings[key] = fmt.Sprint(*v)
		}
	}
	if len(p.Settings) > 0 {
		if text, err := json.Marshal(p.Settings); err == nil { // it was JSON
			e.Settings[settingJSON] = string(text)
		}
	}
	switch p.ProvisioningState {
	case "Failed", "Deleting", "Canceled":
		e.Status, e.Message = dr.ExtensionFailed, "its installation is "+strings.ToLower(p.ProvisioningState)
	}
	return e
}

// judge says how an extension is, by what Azure hears from it.
func (s *Site) judge(e equipped, x dr.Extension) dr.Extension {
	view := e.vm.Properties.InstanceView
	if monitors(x) {
		x.Associations = e.associations
		x.Heartbeat = e.heartbeat
	}
	if view.power() != "running" {
		x.Status, x.Message = dr.ExtensionUnknown, "the machine does not run"
		return x
	}
	if x.Status != "" {
		return x
	}
	ready := false
	for _, h := range view.VMAgent.ExtensionHandlers {
		if h.Type != x.Publisher+"."+x.Settings[settingType] {
			continue
		}
		if ready = h.Status.DisplayStatus == "Ready" || h.Status.Code == "ProvisioningState/succeeded"; !ready {
			x.Status, x.Message = dr.ExtensionUnresponsive, h.Status.Message
			return x
		}
	}
	age := s.cfg.Now().Sub(e.heartbeat)
	switch {
	case !ready:
		x.Status, x.Message = dr.ExtensionUnresponsive, "the machine's agent does not report it"
	case !monitors(x):
		x.Status = dr.ExtensionHealthy
	case !slices.ContainsFunc(e.associations, func(a dr.Association) bool { return !strings.HasPrefix(a.Rule, endpointRule) }):
		x.Status, x.Message = dr.ExtensionUnresponsive, "says it is ready, but no data collection rule is associated with the machine"
	case !e.told:
		x.Status = dr.ExtensionHealthy
	case e.heartbeat.IsZero():
		x.Status, x.Message = dr.ExtensionUnresponsive, "says it is ready, but no heartbeat has arrived at the workspace"
	case age > dr.StaleHeartbeat:
		x.Status, x.Message = dr.ExtensionUnresponsive, fmt.Sprintf("says it is ready, but its last heartbeat arrived %s ago", age.Round(time.Second))
	default:
		x.Status = dr.ExtensionHealthy
	}
	return x
}

// body is what an extension is made from.
func body(e dr.Extension, location string, secret func(string) (string, error)) (map[string]any, error) {
	properties := map[string]any{"publisher": e.Publisher, "type": e.Settings[settingType], "typeHandlerVersion": shortVersion(e.Version)}
	for key, name := range map[string]string{settingMinor: "autoUpgradeMinorVersion", settingUpgrade: "enableAutomaticUpgrade"} {
		if v, ok := e.Settings[key]; ok {
			properties[name] = v == "true"
		}
	}
	if text := e.Settings[settingJSON]; text != "" {
		var settings map[string]any
		if err := json.Unmarshal([]byte(text), &settings); err != nil {
			return nil, dr.WithHint(fmt.Errorf("setting %s: %w", settingJSON, err), dr.KindInvalid, "correct it in the inventory")
		}
		properties["settings"] = settings
	}
	if len(e.Protected) > 0 {
		protected := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(e.Protected)) {
			value, err := secret(e.Protected[name])
			if err != nil {
				return nil, fmt.Errorf("setting %s: %w", name, err)
			}
			protected[name] = value
		}
		properties["protectedSettings"] = protected
	}
	return map[string]any{"location": location, "properties": properties}, nil
}

// shortVersion is MAJOR.MINOR: Azure takes no more.
func shortVersion(v string) string {
	parts := strings.SplitN(v, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
