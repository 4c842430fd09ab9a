package registry

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	"github.com/sw4rm/sw4rm-go/runtime/address"
)

// Bounds of a descriptor and of a heartbeat's health map.
const (
	maxName             = 256
	maxDescriptionWords = 200
	maxDescription      = 8 << 10
	maxCapabilities     = 256
	maxListed           = 64
	maxListedBytes      = 256
	maxPublicKey        = 8 << 10
	maxHealth           = 64
	maxHealthKey        = 128
	maxHealthValue      = 1 << 10
)

// check tells what is wrong with a descriptor.
func check(d *registrypb.AgentDescriptor) error {
	if d == nil {
		return errors.New("the agent's descriptor is missing. Fix: set agent in the request")
	}
	if err := address.CheckName("agent id", d.GetAgentId()); err != nil {
		return err
	}
	if d.GetAgentId() == address.RouterID {
		return fmt.Errorf("agent id %q is reserved. Fix: choose another id", address.RouterID)
	}
	if n := len(d.GetName()); n > maxName {
		return fmt.Errorf("name has %d bytes, the limit is %d. Fix: shorten it", n, maxName)
	}
	if n := len(d.GetDescription()); n > maxDescription {
		return fmt.Errorf("description has %d bytes, the limit is %d. Fix: shorten it", n, maxDescription)
	}
	if n := len(strings.Fields(d.GetDescription())); n > maxDescriptionWords {
		return fmt.Errorf("description has %d words, the limit is %d. Fix: shorten it", n, maxDescriptionWords)
	}
	if n := len(d.GetCapabilities()); n > maxCapabilities {
		return fmt.Errorf("there are %d capabilities, the limit is %d. Fix: divide them among several agents", n, maxCapabilities)
	}
	for _, c := range d.GetCapabilities() {
		if err := address.CheckName("capability", c); err != nil {
			return err
		}
	}
	if err := checkList("modalities_supported", d.GetModalitiesSupported()); err != nil {
		return err
	}
	if err := checkList("reasoning_connectors", d.GetReasoningConnectors()); err != nil {
		return err
	}
	if n := len(d.GetPublicKey()); n > maxPublicKey {
		return fmt.Errorf("public_key has %d bytes, the limit is %d. Fix: send the key alone", n, maxPublicKey)
	}
	return nil
}

func checkList(what string, list []string) error {
	if len(list) > maxListed {
		return fmt.Errorf("%s has %d entries, the limit is %d. Fix: list fewer", what, len(list), maxListed)
	}
	for _, s := range list {
		if len(s) > maxListedBytes {
			return fmt.Errorf("%s has an entry with %d bytes, the limit is %d. Fix: shorten it", what, len(s), maxListedBytes)
		}
	}
	return nil
}

// mergeHealth returns old with what more says on top. What is beyond the bounds is left out: a heartbeat is no place to
// fail, and the map must not grow with what agents write.
func mergeHealth(old, more map[string]string) map[string]string {
	for _, key := range slices.Sorted(maps.Keys(more)) {
		if key == "" || len(key) > maxHealthKey {
			continue
		}
		if _, known := old[key]; !known && len(old) >= maxHealth {
			continue
		}
		if old == nil {
			old = make(map[string]string)
		}
		old[key] = cut(more[key], maxHealthValue)
	}
	return old
}

// cut returns at most max bytes of s, ending between two characters.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
