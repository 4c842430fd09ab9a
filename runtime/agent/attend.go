package agent

import (
	"context"
	"time"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

const (
	registryTimeout = 5 * time.Second
	registryRetry   = time.Second
)

// attend keeps the agent registered and sends heartbeats, until ctx ends; then it takes the agent out of the registry. An
// instance that no router has admitted leaves the entry to the one that has the id.
func (a *Agent) attend(ctx context.Context) {
	select {
	case <-a.link.admitted:
	case <-ctx.Done():
		return
	}
	client := registrypb.NewRegistryServiceClient(a.conns.registry)
	registered, told, failures := false, false, 0
	for ctx.Err() == nil {
		var err error
		if registered {
			registered, err = a.heartbeat(ctx, client)
		}
		if err == nil && !registered {
			registered, err = a.register(ctx, client)
		}
		wait := a.cfg.Heartbeat
		if !registered || err != nil {
			wait = doubled(registryRetry, failures, a.cfg.Heartbeat)
			failures++
			if err != nil && !told && ctx.Err() == nil {
				a.log.Info("the registry does not answer; the agent works without it", "registry", a.cfg.RegistryAddr, "error", err)
				told = true
			}
			if silent(err) && ctx.Err() == nil {
				a.redial(&a.conns.registry, a.cfg.RegistryAddr)
				client = registrypb.NewRegistryServiceClient(a.conns.registry)
			}
		} else {
			failures, told = 0, false
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	if registered {
		ctx, cancel := context.WithTimeout(a.base, registryRetry)
		defer cancel()
		if _, err := client.DeregisterAgent(ctx, &registrypb.DeregisterAgentRequest{AgentId: a.cfg.ID, Reason: "closed"}); err != nil {
			a.log.Debug("the registry was not told that the agent closes", "error", err)
		}
	}
}

func (a *Agent) register(ctx context.Context, client registrypb.RegistryServiceClient) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	res, err := client.RegisterAgent(ctx, &registrypb.RegisterAgentRequest{Agent: &registrypb.AgentDescriptor{
		AgentId: a.cfg.ID, Name: a.cfg.Name, Description: a.cfg.Description, Capabilities: a.reg.capabilities(),
		CommunicationClass:  commonpb.CommunicationClass_STANDARD,
		ModalitiesSupported: []string{envelope.MediaProtobuf, envelope.MediaJSON},
		RegistrationType:    registrypb.RegistrationType_STANDARD_AGENT,
	}})
	if err != nil {
		return false, err
	}
	if !res.GetAccepted() {
		a.log.Warn("the registry refused the agent", "reason", res.GetReason())
	}
	return res.GetAccepted(), nil
}

func (a *Agent) heartbeat(ctx context.Context, client registrypb.RegistryServiceClient) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	res, err := client.Heartbeat(ctx, &registrypb.HeartbeatRequest{AgentId: a.cfg.ID, State: commonpb.AgentState_RUNNING})
	if err != nil {
		return true, err // still registered, for all that is known
	}
	return res.GetOk(), nil
}
