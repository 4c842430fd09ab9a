// Package agenttest is for tests of programs that are agents, or use one. Only tests import it. There are three ways to
// test, from the smallest to the one that tells the most.
//
// # Given handles
//
// Code that is handed a *exchange.Delivery, *exchange.Pending or *exchange.PendingStream can be given one with any result:
// Delivered, Replied and Streamed return handles that have ended, Delivery, Pending and Stream handles that the test ends.
//
//	lines, err := collect(ctx, agenttest.Replied(&reviewv1.ReviewResponse{Lines: 4}, nil))
//
// # A Fake
//
// Code that is handed a caller, a sender, or an agent to send through gets a Fake instead. Its handlers are registered
// like an agent's, and what they return is the outcome:
//
//	fake := agenttest.NewFake(t)
//	reviewv1.ReviewerExchanges.Review.Handle(fake, func(ctx context.Context, req *reviewv1.ReviewRequest) (*reviewv1.ReviewResponse, error) {
//		return nil, ack.Rejectf(ack.PermissionDenied, "not this one")
//	})
//	err := run(ctx, reviewv1.NewReviewerCaller(fake, address.Agent("reviewer-1")))
//
// # A Net
//
// A Net has real agents and the real router in the test's own process: nothing but the network and the disk is replaced.
// Under testing/synctest it runs on the test's clock, where an hour passes at once:
//
//	synctest.Test(t, func(t *testing.T) {
//		net := agenttest.New(t)
//		server, client := net.Agent("reviewer-1"), net.Agent("client")
//		reviewv1.HandleReviewer(server, &reviewer{})
//		// Start both.
//		res, err := reviewv1.NewReviewerCaller(client, address.Agent("reviewer-1")).Review(t.Context(), req)
//		sent := agenttest.Sent(client, reviewv1.ReviewerExchanges.Review) // []*reviewv1.ReviewRequest
//	})
//
// What handlers have written with exchange.TxFrom is read with the agent's Data, or the Fake's.
//
// Sent and Handled return what an agent has sent and handled, with its types; they work with a Fake too.
//
// # Faults
//
// A Net can do to an agent what networks and machines do, at a moment that the test chooses. The faults act on what really
// goes between agent and router, so agent, router and handlers behave as they would outside of the test.
//
//   - Net.DropAnswer: it happened, but the sender was not told.
//   - Net.Duplicate: a message, or a reply, comes twice.
//   - Net.Delay: it comes late.
//   - Net.Crash kills an agent now, Net.CrashAt at a point of handling a message, such as BeforeOutcome. Net.Reopen is the
//     restart on what was stored.
//   - Net.StopRouter, Net.StartRouter and Net.RestartRouter do the same to the router.
//
// A test of a handler that must not repeat its side effect could read:
//
//	crashed := net.CrashAt("reviewer-1", agenttest.BeforeOutcome)
//	sent, err := reviewv1.NewReviewerSender(client, address.Agent("reviewer-1")).Review(t.Context(), req)
//	<-crashed
//	again := net.Reopen("reviewer-1")
//	reviewv1.HandleReviewer(again, r)
//	// Start it.
//	res, err := sent.Response(t.Context()) // and r has seen the request twice, with the same token
//
// The package's own tests have an example of each.
package agenttest
