package sim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// get asks as a caller does who knows the protocol only.
func get(t *testing.T, s *Sim, method, to string) (int, http.Header, doc) {
	t.Helper()
	client := s.Client()
	t.Cleanup(client.CloseIdleConnections)
	login, err := client.PostForm(s.URL()+"/"+TenantID+"/oauth2/v2.0/token", url.Values{"client_secret": {ClientSecret}})
	if err != nil {
		t.Fatal(err)
	}
	token := doc{}
	err = json.NewDecoder(login.Body).Decode(&token)
	_ = login.Body.Close() // read
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(to, "/") {
		to = s.URL() + to
	}
	req, err := http.NewRequestWithContext(t.Context(), method, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.text("access_token"))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := doc{}
	_ = json.NewDecoder(resp.Body).Decode(&answer) // there may be none
	return resp.StatusCode, resp.Header, answer
}

// TestApply is what kills pollers of the official client: an update is applied, and the run that the answer names is not there yet.
func TestApply(t *testing.T) {
	s := Start(t, Options{Regions: []string{"redmond"}})
	for _, err := range []error{s.Stack("redmond"), s.Update("redmond", "Microsoft1.2309.0.42", "1.2309.0.42", "Ready")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	update := s.System("redmond") + "/providers/Microsoft.Update.Admin/updateLocations/redmond/updates/Microsoft1.2309.0.42"
	status, header, _ := get(t, s, http.MethodPost, update+"/apply?api-version=2021-07-01")
	run := header.Get("Location")
	if status != http.StatusAccepted || !strings.HasPrefix(run, s.URL()+update+"/updateRuns/") || header.Get("Azure-AsyncOperation") != "" {
		t.Fatalf("%d %v", status, header)
	}
	if status, _, _ := get(t, s, http.MethodGet, run); status != http.StatusNotFound {
		t.Errorf("the run at once: %d", status)
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(run, s.URL()), "?")
	if err := s.UpdateRun("redmond", "Microsoft1.2309.0.42", id[strings.LastIndex(id, "/")+1:], "InProgress", "PT1S", map[string]any{}); err != nil {
		t.Fatal(err)
	}
	if status, _, body := get(t, s, http.MethodGet, run); status != http.StatusOK || body.text("properties.state") != "InProgress" {
		t.Errorf("the run afterwards: %d %v", status, body)
	}
}

func TestAPIVersion(t *testing.T) {
	s := Start(t, Options{Versions: map[string][]string{"microsoft.compute": {"2020-06-01"}}})
	list := s.Group("g") + "/providers/Microsoft.Compute/disks"
	for query, want := range map[string]string{
		"":                        "MissingApiVersionParameter",
		"?api-version=latest":     "InvalidApiVersionParameter",
		"?api-version=2024-07-01": "NoRegisteredProviderFound",
		"?api-version=2020-06-01": "",
	} {
		if _, _, body := get(t, s, http.MethodGet, list+query); body.text("error.code") != want {
			t.Errorf("%q: %v", query, body)
		}
	}
}

// TestDeployment makes what a template describes, what others need first.
func TestDeployment(t *testing.T) {
	s := Start(t, Options{Regions: []string{"redmond"}})
	if err := s.Put(s.Group("g"), map[string]any{"location": "redmond"}); err != nil {
		t.Fatal(err)
	}
	subnet := "[resourceId('Microsoft.Network/virtualNetworks/subnets', parameters('net'), 'default')]"
	nic := map[string]any{"type": "Microsoft.Network/networkInterfaces", "name": "[concat(parameters('net'), '-nic')]", "location": "redmond", "apiVersion": "2021-05-01",
		"dependsOn":  []any{"[resourceId('Microsoft.Network/virtualNetworks', parameters('net'))]"},
		"properties": map[string]any{"ipConfigurations": []any{map[string]any{"name": "c", "properties": map[string]any{"subnet": map[string]any{"id": subnet}}}}}}
	net := map[string]any{"type": "Microsoft.Network/virtualNetworks", "name": "[parameters('net')]", "location": "redmond",
		"properties": map[string]any{"subnets": []any{map[string]any{"name": "default", "properties": map[string]any{"addressPrefix": "10.0.0.0/24"}}}}}
	deploy := func(resources ...any) error {
		return s.Put(s.Group("g")+"/providers/Microsoft.Resources/deployments/d", map[string]any{"properties": map[string]any{"mode": "Incremental",
			"parameters": map[string]any{"net": map[string]any{"value": "lan"}},
			"template":   map[string]any{"parameters": map[string]any{"net": map[string]any{"defaultValue": "none"}}, "resources": resources}}})
	}
	if err := deploy(nic, net); err != nil {
		t.Fatal(err)
	}
	if got := s.IDs(kindNIC); len(got) != 1 || !strings.HasSuffix(got[0], "/lan-nic") {
		t.Errorf("%v", got)
	}
	for _, bad := range []string{"[parameters('other')]", "[uniqueString('a')]", "[parameters('net']", "[concat('a']", "['a' 'b']"} {
		one := map[string]any{"type": "Microsoft.Network/virtualNetworks", "name": bad}
		if err := deploy(one); err == nil || !strings.Contains(err.Error(), "InvalidTemplate") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
