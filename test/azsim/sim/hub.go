package sim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// hubVersions are those of the 2020-09-01-hybrid profile, by type, as its documentation lists them, and the disks' from
// the page about managed disks: https://learn.microsoft.com/azure-stack/user/azure-stack-profiles-azure-resource-manager-versions
var hubVersions = map[string]string{
	"microsoft.authorization/locks":           "2016-09-01",
	"microsoft.authorization/permissions":     "2015-07-01",
	"microsoft.compute/availabilitysets":      "2020-06-01",
	"microsoft.compute/locations":             "2020-06-01",
	"microsoft.compute/virtualmachines":       "2020-06-01",
	"microsoft.compute/disks":                 "2019-07-01",
	"microsoft.compute/snapshots":             "2019-07-01",
	"microsoft.network/networkinterfaces":     "2018-11-01",
	"microsoft.network/networksecuritygroups": "2018-11-01",
	"microsoft.network/publicipaddresses":     "2018-11-01",
	"microsoft.network/virtualnetworks":       "2018-11-01",
	"microsoft.resources/resourcegroups":      "2019-10-01",
}

// hubStorage is the newest version of the protocol of disks that the stack speaks.
const hubStorage = "2019-07-07"

// HubAudience is whom tokens for the stack are for.
const HubAudience = "https://management.azurestack.sim/0f4f1b3e-hub"

var lastProvider = regexp.MustCompile(`(?i)/providers/([^/]+)/([^/]+)`)

// Hub has the cloud behave like an Azure Stack Hub with AD FS: old versions of the API and nothing newer, full snapshots, no
// zones, machines of generation 1, no store of its own for boot diagnostics, and a login that must be told the resource.
func (s *Sim) Hub() {
	s.Serve(func(w http.ResponseWriter, r *http.Request) bool {
		answer := func(status int, v any) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(v) // who asks may go away
			return true
		}
		base := "https://" + r.Host
		path := strings.ToLower(r.URL.Path)
		switch {
		case path == "/metadata/endpoints":
			if r.URL.Query().Get("api-version") != "2015-01-01" {
				return answer(http.StatusBadRequest, doc{"error": doc{"code": "InvalidApiVersionParameter"}})
			}
			return answer(http.StatusOK, doc{"galleryEndpoint": base, "graphEndpoint": base, "portalEndpoint": base,
				"authentication": doc{"loginEndpoint": base + "/adfs", "audiences": []string{HubAudience}}})
		case strings.HasPrefix(path, "/adfs/oauth2/") && strings.HasSuffix(path, "/token"):
			if err := r.ParseForm(); err != nil || r.PostForm.Get("resource") != HubAudience {
				return answer(http.StatusBadRequest, doc{"error": "invalid_resource", "error_description": "MSIS9602: The received 'resource' parameter is invalid."})
			}
			return false
		case strings.HasPrefix(path, "/md-"):
			if v := r.Header.Get("x-ms-version"); v == "" || v > hubStorage || len(r.Header.Values("x-ms-version")) != 1 {
				w.Header().Set("x-ms-error-code", "InvalidHeaderValue")
				w.WriteHeader(http.StatusBadRequest)
				return true
			}
			return false
		case !strings.HasPrefix(path, "/subscriptions/"):
			return false
		}
		if e := hubAllows(r); e != nil {
			s.refuse(w, e)
			return true
		}
		return false
	})
}

// hubAllows refuses what an Azure Stack Hub does not know.
func hubAllows(r *http.Request) *armError {
	kind := "microsoft.resources/resourcegroups"
	version := hubVersions[kind]
	if all := lastProvider.FindAllStringSubmatch(r.URL.Path, -1); len(all) > 0 {
		last := all[len(all)-1]
		kind = strings.ToLower(last[1] + "/" + last[2])
		version = hubVersions[kind]
	} else if strings.HasSuffix(r.URL.Path, "/locations") {
		version = "2016-06-01"
	}
	if got := r.URL.Query().Get("api-version"); got != version {
		return refusal(http.StatusBadRequest, "NoRegisteredProviderFound", "No registered resource provider found for API version '%s' for type '%s'. The supported api-versions are '%s'.", got, kind, version)
	}
	if r.Method == http.MethodGet && strings.HasSuffix(strings.ToLower(r.URL.Path), "/virtualmachines") && r.URL.Query().Has("$expand") {
		return refusal(http.StatusBadRequest, "InvalidParameter", "The $expand query option is not supported by this version of the API.")
	}
	if r.Method != http.MethodPut {
		return nil
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return refusal(http.StatusBadRequest, "InvalidRequestContent", "%v", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	body := doc{}
	if err := json.Unmarshal(data, &body); err != nil {
		return nil // what follows says so
	}
	no := func(what string) *armError {
		return refusal(http.StatusBadRequest, "InvalidParameter", "%s is not supported by this Azure Stack Hub.", what)
	}
	switch {
	case body["zones"] != nil:
		return no("zones")
	case kind == "microsoft.compute/snapshots" && body.at("properties.incremental") == true:
		return no("incremental")
	case kind == "microsoft.compute/disks" && body.text("properties.hyperVGeneration") == "V2":
		return no("hyperVGeneration V2")
	case kind == "microsoft.compute/disks" && !slices.Contains([]string{"Premium_LRS", "Standard_LRS"}, body.text("sku.name")):
		return no("the SKU " + body.text("sku.name"))
	case body.at("properties.diagnosticsProfile.bootDiagnostics.enabled") == true && body.text("properties.diagnosticsProfile.bootDiagnostics.storageUri") == "":
		return no("boot diagnostics without storageUri")
	case strings.HasPrefix(body.text("properties.creationData.createOption"), "CopyStart"):
		return no("CopyStart")
	}
	return nil
}
