package suites

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"understudy/test/azsim/sim"
)

// An operation is one that Understudy uses and that the modules have examples of.
type operation struct {
	client, op   string
	method, path string // %s are the texts among the arguments
	// How many of the examples the simulation answers, and how many of the fields in the answers that they show it gives. The numbers
	// only grow.
	answers, fields int
}

const (
	inGroup = "/subscriptions/S/resourceGroups/%s/providers/"
	compute = inGroup + "Microsoft.Compute/"
	network = inGroup + "Microsoft.Network/"
	rules   = inGroup + "Microsoft.Insights/"
)

// TestExamples asks the simulation what the examples in the modules of the SDK ask, and compares the names and the kinds of the
// fields in its answers with those that the examples show.
func TestExamples(t *testing.T) {
	if os.Getenv("UNDERSTUDY_TEST_ALL") != "1" {
		t.Skip("reads modules that are fetched: run `make test`, or set UNDERSTUDY_TEST_ALL=1")
	}
	dir := workshop(t)
	answered, ran, carried, shown := 0, 0, 0, 0
	for _, module := range slices.Sorted(maps.Keys(operations)) {
		l := load(t, strings.TrimSpace(string(command(t, dir, "list", "-m", "-f", "{{.Dir}}", sdk+module))))
		all := l.examples(t)
		for _, o := range operations[module] {
			t.Run(o.client+"."+o.op, func(t *testing.T) {
				examples, answers, have, want, lacks := 0, 0, 0, 0, map[string]int{}
				for _, e := range all {
					if e.client != o.client || e.op != o.op {
						continue
					}
					examples++
					got, err := o.ask(t, e)
					if err != nil {
						t.Logf("%s: %v", e.name, err)
						continue
					}
					answers++
					c := comparison{lacks: lacks}
					c.compare("", e.want, got)
					have, want = have+c.have, want+c.want
					for _, wrong := range c.wrong {
						t.Errorf("%s: %s", e.name, wrong)
					}
				}
				t.Logf("%d of %d examples answered, with %d of %d fields; without %v", answers, examples, have, want, slices.Sorted(maps.Keys(lacks)))
				if answers != o.answers || have != o.fields {
					t.Errorf("%d answers with %d fields, and there were %d with %d: the numbers may only grow", answers, have, o.answers, o.fields)
				}
				answered, ran, carried, shown = answered+answers, ran+examples, carried+have, shown+want
			})
		}
	}
	t.Logf("%d of %d examples answered, with %d of %d fields", answered, ran, carried, shown)
}

// A comparison counts which fields of an expected answer another has.
type comparison struct {
	have, want int
	lacks      map[string]int
	wrong      []string
}

func (c *comparison) compare(path string, want, got any) {
	kind := func(v any) string {
		switch v.(type) {
		case map[string]any:
			return "object"
		case []any:
			return "array"
		case float64:
			return "number"
		}
		return fmt.Sprintf("%T", v)
	}
	if kind(want) != kind(got) {
		c.wrong = append(c.wrong, fmt.Sprintf("%s is %s (%v), not %s (%v)", path, kind(got), got, kind(want), want))
		return
	}
	switch want := want.(type) {
	case map[string]any:
		for name, v := range want {
			at := strings.TrimPrefix(path+"."+name, ".")
			c.want++
			other, ok := got.(map[string]any)[name]
			if !ok || other == nil {
				c.lacks[at]++
				continue
			}
			c.have++
			c.compare(at, v, other)
		}
	case []any:
		if other := got.([]any); len(want) > 0 && len(other) > 0 {
			c.compare(path+"[]", want[0], other[0])
		}
	}
}

var (
	subscription = regexp.MustCompile(`^/?subscriptions/[^/]+/`)
	braces       = strings.NewReplacer("{", "", "}", "", "<", "", ">", "")
)

const here = "westus"

// known writes texts as they are in the simulation: its subscription, its region.
func known(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, one := range v {
			if name == "location" {
				v[name] = here
				continue
			}
			v[name] = known(one)
		}
	case []any:
		for i := range v {
			v[i] = known(v[i])
		}
	case string:
		if subscription.MatchString(v) {
			return braces.Replace(subscription.ReplaceAllString(v, "/subscriptions/"+sim.DefaultSubscription+"/"))
		}
	}
	return v
}

// ask makes what an example needs, and its request.
func (o operation) ask(t *testing.T, e example) (any, error) {
	azure := sim.Start(t, sim.Options{Regions: []string{here}})
	names := []any{}
	for _, name := range e.names[:strings.Count(o.path, "%s")] {
		names = append(names, braces.Replace(fmt.Sprint(known(name))))
	}
	path := fmt.Sprint(known(strings.Replace(fmt.Sprintf(o.path, names...), "//", "/", 1)))
	w := &world{azure: azure, made: map[string]bool{}}
	body, _ := known(e.body).(map[string]any)
	err := w.needs(body)
	target := path
	switch {
	case err != nil:
	case o.method == http.MethodPut:
		err = w.above(target)
	case o.method == http.MethodPost || strings.HasSuffix(o.path, "/instanceView"):
		err = w.make(target[:strings.LastIndex(target, "/")])
	case strings.HasSuffix(o.path, "%s"):
		err = w.make(target)
	default: // a list
		err = w.make(target + "/one")
	}
	if err != nil {
		return nil, fmt.Errorf("what it needs: %w", err)
	}
	status, header, answer, err := w.do(o.method, path, body)
	if err != nil || status >= 300 {
		return nil, fmt.Errorf("status %d: %v: %v", status, answer, err)
	}
	if monitor := header.Get("Azure-AsyncOperation"); monitor != "" {
		if o.method != http.MethodPost {
			if status, _, answer, err = w.do(http.MethodGet, monitor, nil); err != nil || status != http.StatusOK {
				return nil, fmt.Errorf("the operation: %d: %v", status, err)
			}
			if s := answer.(map[string]any)["status"]; s != "Succeeded" {
				return nil, fmt.Errorf("the operation: %v", answer)
			}
			_, _, answer, err = w.do(http.MethodGet, path, nil)
			return answer, err
		}
		_, _, answer, err = w.do(http.MethodGet, header.Get("Location"), nil)
	}
	return answer, err
}

// A world is a simulation in which resources are made as they are needed.
type world struct {
	azure *sim.Sim
	made  map[string]bool
	token string
}

// needs makes every resource that a value names.
func (w *world) needs(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if err := w.needs(v[name]); err != nil {
				return err
			}
		}
	case []any:
		for _, one := range v {
			if err := w.needs(one); err != nil {
				return err
			}
		}
	case string:
		if strings.HasPrefix(v, "/subscriptions/") && strings.Contains(v, "/providers/") {
			return w.make(v)
		}
	}
	return nil
}

// above makes what a resource is in.
func (w *world) above(id string) error {
	parts := strings.Split(id, "/")
	place := sim.Place{Group: parts[4], Region: here, Prefix: "10.0"}
	if !w.made[parts[4]] {
		w.made[parts[4]] = true
		if err := w.azure.Place(place); err != nil {
			return err
		}
	}
	parent := strings.Join(parts[:len(parts)-2], "/")
	if i := strings.LastIndex(id, "/providers/"); i > strings.Index(id, "/providers/") {
		parent = id[:i]
	} else if len(parts) <= 9 {
		return nil
	}
	return w.make(parent)
}

// make makes a resource.
func (w *world) make(id string) error {
	if w.made[strings.ToLower(id)] {
		return nil
	}
	w.made[strings.ToLower(id)] = true
	parts := strings.Split(id, "/")
	if len(parts) < 9 || !strings.EqualFold(parts[3], "resourceGroups") {
		return nil
	}
	if err := w.above(id); err != nil {
		return err
	}
	group, name := strings.Join(parts[:5], "/"), parts[len(parts)-1]
	properties := map[string]any{}
	body := map[string]any{"location": here, "tags": map[string]any{"a": "b"}, "properties": properties}
	switch strings.ToLower(parts[6] + "/" + parts[len(parts)-2]) {
	case "microsoft.compute/virtualmachines":
		_, err := w.azure.Machine(sim.Machine{Name: name, Place: sim.Place{Group: parts[4], Region: here}, Disks: []int{1, 1}, Agent: true})
		return err
	case "microsoft.compute/disks":
		body["sku"] = map[string]any{"name": "Premium_LRS"}
		properties["creationData"], properties["diskSizeGB"], properties["osType"] = map[string]any{"createOption": "Empty"}, 10, "Linux"
	case "microsoft.compute/snapshots":
		of := group + "/providers/Microsoft.Compute/disks/of-" + name
		if err := w.make(of); err != nil {
			return err
		}
		properties["creationData"], properties["incremental"] = map[string]any{"createOption": "Copy", "sourceResourceId": of}, true
	case "microsoft.network/networkinterfaces":
		properties["ipConfigurations"] = []any{map[string]any{"name": "ipconfig1", "properties": map[string]any{"primary": true,
			"subnet": map[string]any{"id": group + "/providers/Microsoft.Network/virtualNetworks/lan/subnets/default"}}}}
	case "microsoft.network/virtualnetworks":
		properties["addressSpace"] = map[string]any{"addressPrefixes": []any{"10.9.0.0/16"}}
		properties["subnets"] = []any{map[string]any{"name": "default", "properties": map[string]any{"addressPrefix": "10.9.0.0/24"}}}
	case "microsoft.network/subnets":
		properties["addressPrefix"] = "10.9.9.0/24"
	case "microsoft.compute/extensions":
		properties["publisher"], properties["type"], properties["typeHandlerVersion"] = "Publisher", "Type", "1.0"
	case "microsoft.compute/virtualmachines/datacollectionruleassociations", "microsoft.compute/datacollectionruleassociations":
		properties["dataCollectionRuleId"] = group + "/providers/Microsoft.Insights/dataCollectionRules/logs-" + here
	}
	return w.azure.Put(id, body)
}

// do makes a request to Resource Manager.
func (w *world) do(method, to string, body map[string]any) (int, http.Header, any, error) {
	client := w.azure.Client()
	defer client.CloseIdleConnections()
	if w.token == "" {
		resp, err := client.PostForm(w.azure.URL()+"/"+sim.TenantID+"/oauth2/v2.0/token", url.Values{"client_secret": {sim.ClientSecret}})
		if err != nil {
			return 0, nil, nil, err
		}
		var out struct {
			Token string `json:"access_token"`
		}
		err = json.NewDecoder(resp.Body).Decode(&out)
		_ = resp.Body.Close() // read
		if err != nil {
			return 0, nil, nil, err
		}
		w.token = out.Token
	}
	if strings.HasPrefix(to, "/") {
		to = w.azure.URL() + to + "?api-version=2026-01-01"
	}
	var data []byte
	if body != nil {
		data, _ = json.Marshal(body)
	}
	req, err := http.NewRequest(method, to, bytes.NewReader(data))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	var answer any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil && err != io.EOF {
		return resp.StatusCode, resp.Header, nil, err
	}
	return resp.StatusCode, resp.Header, answer, nil
}

// operations are those that Understudy uses, by module.
var operations = map[string][]operation{
	"resourcemanager/compute/armcompute/v8": {
		{"DisksClient", "BeginCreateOrUpdate", "PUT", compute + "disks/%s", 15, 149},
		{"DisksClient", "BeginUpdate", "PATCH", compute + "disks/%s", 10, 105},
		{"DisksClient", "Get", "GET", compute + "disks/%s", 2, 32},
		{"DisksClient", "NewListByResourceGroupPager", "GET", compute + "disks", 1, 15},
		{"DisksClient", "BeginGrantAccess", "POST", compute + "disks/%s/beginGetAccess", 3, 3},
		{"SnapshotsClient", "BeginCreateOrUpdate", "PUT", compute + "snapshots/%s", 2, 17},
		{"SnapshotsClient", "Get", "GET", compute + "snapshots/%s", 3, 52},
		{"SnapshotsClient", "NewListByResourceGroupPager", "GET", compute + "snapshots", 1, 16},
		{"SnapshotsClient", "BeginGrantAccess", "POST", compute + "snapshots/%s/beginGetAccess", 1, 1},
		{"VirtualMachinesClient", "BeginCreateOrUpdate", "PUT", compute + "virtualMachines/%s", 53, 1807},
		{"VirtualMachinesClient", "BeginUpdate", "PATCH", compute + "virtualMachines/%s", 0, 0},
		{"VirtualMachinesClient", "Get", "GET", compute + "virtualMachines/%s", 6, 214},
		{"VirtualMachinesClient", "NewListPager", "GET", compute + "virtualMachines", 2, 50},
		{"VirtualMachinesClient", "InstanceView", "GET", compute + "virtualMachines/%s/instanceView", 2, 64},
		{"VirtualMachinesClient", "RetrieveBootDiagnosticsData", "POST", compute + "virtualMachines/%s/retrieveBootDiagnosticsData", 1, 2},
		{"VirtualMachinesClient", "BeginRunCommand", "POST", compute + "virtualMachines/%s/runCommand", 1, 5},
		{"VirtualMachineExtensionsClient", "BeginCreateOrUpdate", "PUT", compute + "virtualMachines/%s/extensions/%s", 1, 32},
		{"VirtualMachineExtensionsClient", "Get", "GET", compute + "virtualMachines/%s/extensions/%s", 2, 12},
		{"VirtualMachineExtensionsClient", "List", "GET", compute + "virtualMachines/%s/extensions", 2, 12},
		{"UsageClient", "NewListPager", "GET", "/subscriptions/S/providers/Microsoft.Compute/locations/%s/usages", 2, 10},
		{"AvailabilitySetsClient", "Get", "GET", compute + "availabilitySets/%s", 2, 8},
	},
	"resourcemanager/network/armnetwork/v9": {
		{"InterfacesClient", "BeginCreateOrUpdate", "PUT", network + "networkInterfaces/%s", 1, 26},
		{"InterfacesClient", "Get", "GET", network + "networkInterfaces/%s", 1, 24},
		{"InterfacesClient", "NewListPager", "GET", network + "networkInterfaces", 1, 25},
		{"VirtualNetworksClient", "BeginCreateOrUpdate", "PUT", network + "virtualNetworks/%s", 9, 143},
		{"VirtualNetworksClient", "Get", "GET", network + "virtualNetworks/%s", 3, 42},
		{"SubnetsClient", "Get", "GET", network + "virtualNetworks/%s/subnets/%s", 3, 15},
		{"SecurityGroupsClient", "BeginCreateOrUpdate", "PUT", network + "networkSecurityGroups/%s", 2, 23},
		{"SubnetsClient", "BeginCreateOrUpdate", "PUT", network + "virtualNetworks/%s/subnets/%s", 6, 38},
		{"SecurityGroupsClient", "Get", "GET", network + "networkSecurityGroups/%s", 1, 6},
		{"PublicIPAddressesClient", "Get", "GET", network + "publicIPAddresses/%s", 2, 12},
	},
	"resourcemanager/monitor/armmonitor": {
		{"DataCollectionRuleAssociationsClient", "Create", "PUT", "/%s/providers/Microsoft.Insights/dataCollectionRuleAssociations/%s", 2, 26},
		{"DataCollectionRuleAssociationsClient", "Get", "GET", "/%s/providers/Microsoft.Insights/dataCollectionRuleAssociations/%s", 1, 13},
		{"DataCollectionRuleAssociationsClient", "NewListByResourcePager", "GET", "/%s/providers/Microsoft.Insights/dataCollectionRuleAssociations", 1, 13},
		{"DataCollectionRulesClient", "Get", "GET", rules + "dataCollectionRules/%s", 1, 15},
		{"DataCollectionEndpointsClient", "Get", "GET", rules + "dataCollectionEndpoints/%s", 1, 21},
	},
}
