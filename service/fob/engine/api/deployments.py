"""Deployments that are under way."""

from fob.engine.api.base import Handler


class AllDeployments(Handler):
    def get(self) -> None:
        self.send([deployment.json() for deployment in self.supervisor.deployments.all()])


class OneDeployment(Handler):
    def delete(self, deployment_id: str) -> None:
        """Undo it by another one; with `?force=true` only end it, as far as it has come."""
        deployment = self.supervisor.deployments.get(deployment_id)
        if self.flag("force"):
            self.supervisor.deployments.cancel(deployment)
            self.set_status(202)
            self.set_header("Content-Type", "application/json")
        else:
            self.send_deployment(self.changes.roll_back(deployment))
