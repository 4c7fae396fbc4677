// A program that uses marathon-node; prints JSON. Arguments: the engine's url and token.
const Marathon = require("marathon-node");

const [url, token] = process.argv.slice(2);
const headers = { Authorization: `token=${token}` };
const client = new Marathon(url, { headers });
const app = (id, more) => ({ id, cmd: "exec sleep 1000", cpus: 0.01, mem: 16, ...more });
const seen = {};

async function wait(deployment) {
  while ((await client.deployments.getList()).some(({ id }) => id === deployment));
}

async function refused(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    return [error.statusCode, error.error.message];
  }
}

async function main() {
  const events = client.events.createEventSource({ eventType: ["deployment_success"], headers });
  const told = [];
  events.addEventListener("deployment_success", ({ data }) => told.push(JSON.parse(data).id));
  await new Promise((attached) => { events.onopen = attached; });

  seen.ping = await client.misc.ping();
  seen.name = (await client.info.get()).name;
  const created = await client.app.create(app("/a", { labels: { kind: "x" } }));
  await wait(created.deployments[0].id);
  seen.running = (await client.app.getOne("/a")).app.tasksRunning;
  seen.selected = (await client.app.getList({ label: "kind!=y" })).apps.map(({ id }) => id);
  seen.twice = await refused(client.app.create(app("/a")));
  await wait((await client.app.update("/a", { instances: 2 }, true)).deploymentId);
  await wait((await client.app.restart("/a", true)).deploymentId);
  const { tasks } = await client.app.getTasks("/a");
  seen.tasks = tasks.length;
  const killed = await client.tasks.kill({ ids: [tasks[0].id] }, true);
  await wait(killed.deploymentId);
  seen.instances = (await client.app.getOne("/a")).app.instances;
  seen.versions = (await client.app.getVersions("/a")).versions.length;

  await wait((await client.groups.create({ id: "/g", apps: [app("one")] })).deploymentId);
  await wait((await client.groups.update("/g", { scaleBy: 2 })).deploymentId);
  seen.group = (await client.groups.getOne("/g")).apps.map(({ id, instances }) => [id, instances]);

  await client.app.create(app("/stuck", { cpus: 10000 }));
  seen.queue = (await client.queue.get()).queue.map(({ app: { id }, count }) => [id, count]);
  const [deployment] = await client.deployments.getList();
  seen.locked = await refused(client.app.update("/stuck", { instances: 2 }));
  await client.deployments.destroy(deployment.id);
  seen.gone = await refused(client.app.getOne("/stuck"));

  await wait((await client.groups.destroy("/g")).deploymentId);
  const last = (await client.app.destroy("/a")).deploymentId;
  while (!told.includes(last)) await new Promise((later) => setTimeout(later, 10));
  events.close();
  console.log(JSON.stringify(seen));
}

main().catch((error) => { console.error(error.message); process.exit(1); });
